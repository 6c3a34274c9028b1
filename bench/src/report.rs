//! Figures as a table for people: one row a thing measured, the settings above it.

use std::fmt;

use crate::usage::Took;

/// A table of figures.
#[derive(Debug, Default)]
pub struct Report {
    title: String,
    settings: Vec<(String, String)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    n: u64,
    took: Took,
}

impl Report {
    /// An empty table.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Notes a setting.
    pub fn setting(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a row: `n` things took so long. The first row is the baseline of the others.
    pub fn row(&mut self, what: impl Into<String>, n: u64, took: Took) -> &mut Self {
        self.rows.push(Row { what: what.into(), n, took });
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (name, value) in &self.settings {
            writeln!(f, "  {name}: {value}")?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "  {:<34} {:>12} {:>9} {:>12} {:>14} {:>7}",
            "", "records", "seconds", "per second", "CPU s/million", "ratio"
        )?;
        let baseline = self.rows.first().map(|row| row.took.per_second(row.n));
        for Row { what, n, took } in &self.rows {
            let rate = took.per_second(*n);
            let (seconds, cpu) = (took.wall.as_secs_f64(), took.cpu_seconds_per_million(*n));
            let ratio = rate / baseline.unwrap_or(rate);
            writeln!(f, "  {what:<34} {n:>12} {seconds:>9.2} {rate:>12.0} {cpu:>14.2} {ratio:>7.2}")?;
        }
        Ok(())
    }
}
