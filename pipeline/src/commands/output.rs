//! What commands write to stdout: lines and tables. A reader that goes away (`| head`) is no failure of
//! the command; see [`is_gone`].

use std::io::{self, Write};

use schemas::time::rfc3339;

use super::CommandError;

/// Writes a line to stdout.
///
/// # Errors
/// When nobody reads it any more.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Whether a command ended because nobody reads its output any more.
pub fn is_gone(error: &CommandError) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Rows under a heading, in columns as wide as their widest cell. Numbers stand to the right.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
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
