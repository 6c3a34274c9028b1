//! docs/settings.md: what the structs of the configuration say, their defaults, and what the checks allow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pipeline::config::Config;
use serde_json::Value;

const HEAD: &str = "# Settings

Each can stand in a TOML file (`--config FILE`), as `key` in `[section]`, or in the environment: `log.kafka.brokers` is
`GOCHAT__LOG__KAFKA__BROKERS`. The environment wins. This page is made from the source; a test keeps it current.
";
/// Values of which some is out of every range.
const EXTREMES: [u64; 5] = [u64::MAX >> 1, u32::MAX as u64, u16::MAX as u64, u8::MAX as u64, 0];

/// The fields of each struct, in order: name, type, and what its comment says.
type Structs = BTreeMap<String, Vec<(String, String, String)>>;

#[test]
fn the_page_of_settings_is_current() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut structs = Structs::new();
    for folder in ["pipeline/src/config", "pipeline/src", "gateway/src", "stages/src/repo"] {
        sources(&root.join(folder))
            .iter()
            .for_each(|file| read_structs(&fs::read_to_string(file).unwrap(), &mut structs));
    }
    let mut page = HEAD.to_owned();
    section(&structs, "Config", "", &serde_json::to_value(Config::default()).unwrap(), &mut page);

    let committed = fs::read_to_string(root.join("docs/settings.md")).unwrap_or_default();
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("settings.md");
    fs::write(&made, &page).unwrap();
    assert!(page == committed, "docs/settings.md is not current: cp {} docs/settings.md", made.display());
}

/// A table of a section's own settings, then its sections.
fn section(structs: &Structs, name: &str, key: &str, values: &Value, page: &mut String) {
    let fields = structs.get(name).unwrap_or_else(|| panic!("{name} is no struct with documented fields"));
    let mut sections = Vec::new();
    let mut table = String::new();
    for (field, kind, about) in fields {
        let value = &values[field];
        let full = if key.is_empty() { field.clone() } else { format!("{key}.{field}") };
        if value.is_object() {
            sections.push((kind, full, value));
            continue;
        }
        let default = match value {
            Value::Null => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        writeln!(table, "| `{field}` | {default} | {} | {about} |", allowed(&full)).unwrap();
    }
    if !table.is_empty() {
        let title = if key.is_empty() { String::new() } else { format!("\n## `[{key}]`\n") };
        write!(page, "{title}\n| key | default | allowed | what |\n| --- | --- | --- | --- |\n{table}").unwrap();
    }
    for (kind, full, value) in sections {
        section(structs, kind, &full, value, page);
    }
}

/// What the check answers to a value that is out of range; nothing where all values do.
fn allowed(key: &str) -> String {
    let of = |extreme: u64| {
        let mut values = serde_json::to_value(Config::default()).unwrap();
        let field = key.split('.').try_fold(&mut values, |at, part| at.get_mut(part))?;
        if !field.is_number() {
            return None;
        }
        *field = extreme.into();
        let invalid = serde_json::from_value::<Config>(values).ok()?.check().err()?;
        (invalid.key == key).then_some(invalid.allowed)
    };
    EXTREMES.into_iter().find_map(of).unwrap_or_default()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let (folders, mut files): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| path.is_dir());
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.extend(folders.iter().flat_map(|folder| sources(folder)));
    files
}

/// Adds the structs of a source file; the first of a name counts.
fn read_structs(source: &str, structs: &mut Structs) {
    let mut rest = source.lines();
    while let Some(line) = rest.next() {
        let Some(name) = line.strip_prefix("pub struct ").and_then(|line| line.strip_suffix(" {")) else { continue };
        let (mut fields, mut about) = (Vec::new(), Vec::new());
        for line in rest.by_ref().take_while(|line| *line != "}").map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                about.push(comment.trim());
            } else if let Some((field, kind)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
                let kind = kind.trim_end_matches(',').rsplit("::").next().unwrap_or_default();
                fields.push((field.to_owned(), kind.to_owned(), std::mem::take(&mut about).join(" ")));
            }
        }
        structs.entry(name.to_owned()).or_insert(fields);
    }
}
