//! The nearest of the names that there are, for one that there is not.

/// How alike two names are at least, as clap has it for options.
const LIKENESS_MIN: f64 = 0.7;

/// `; did you mean NAME?` where one of the names is near, else nothing. Of a dotted name the last part may be
/// near by itself.
pub fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        strsim::jaro(&wanted, name).max(strsim::jaro(&wanted, last))
    };
    let near = names.into_iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness > LIKENESS_MIN);
    let nearest = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"))
}
