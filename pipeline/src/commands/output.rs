//! What commands write: results to stdout, as lines and tables, and notes to stderr. A reader of the results
//! that goes away (`| head`) ends the command silently; see [`is_gone`].

use std::io::{self, Write};

use schemas::time::rfc3339;

use super::error::CommandError;

/// The exit code of a command whose reader has gone: what shells report for a program that SIGPIPE has ended.
pub const GONE: u8 = 128 + 13;

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the result can't be written to stdout")]
pub struct OutputError(#[from] io::Error);

/// Writes a line to stdout.
pub fn line(text: impl std::fmt::Display) -> Result<(), OutputError> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Writes a line to stderr, and ignores that nobody may read it.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a command ended because nobody reads its output any more.
pub fn is_gone(error: &CommandError) -> bool {
    error.downcast_ref::<OutputError>().is_some_and(|OutputError(e)| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Rows under a heading, in columns as wide as their widest cell. Numbers stand to the right.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Result<(), OutputError> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading = heading.map(str::to_owned);
    for row in std::iter::once(&heading).chain(rows) {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let gap = " ".repeat(width - cell.chars().count());
            let number = !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit());
            let (left, right) = if number { (&*gap, "") } else { ("", &*gap) };
            text.push_str(&[left, cell, right, "  "].concat());
        }
        line(text.trim_end())?;
    }
    Ok(())
}

/// A time in ms since 1970 UTC as people read it.
pub fn time(ms: i64) -> String {
    rfc3339(ms)
}

/// A length of time in its largest fitting unit.
pub fn span(length: std::time::Duration) -> String {
    match length.as_secs() {
        s if s > 0 && s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s > 0 && s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s > 0 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
