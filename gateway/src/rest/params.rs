//! Parameters that several calls have: ids, limits and cursors.

use std::str::FromStr;

use schemas::error::Refusal;

/// Reads an id from the path or query.
pub(super) fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("{what} is not an id")))
}

/// Checks a `limit`; `default` when it is left out.
pub(super) fn limit(given: Option<i64>, default: i32, max: i32) -> Result<i32, Refusal> {
    match given.map(i32::try_from) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(Refusal::invalid(format!("limit is 1 to {max}"))),
    }
}

/// An empty cursor is no cursor.
pub(super) fn next_cursor(cursor: String) -> Option<String> {
    Some(cursor).filter(|cursor| !cursor.is_empty())
}
