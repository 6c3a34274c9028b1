//! The error of a tool whose directory holds no installation.

use std::path::{Path, PathBuf};

/// The log or the store is not there.
#[derive(Debug, thiserror::Error)]
#[error("no {what} in {}: pass --data or --config", shown(.dir))]
pub struct Absent {
    pub what: &'static str,
    /// Where it was looked for.
    pub dir: PathBuf,
}

/// A directory as people write it: a relative one begins with `./`.
fn shown(dir: &Path) -> String {
    Path::new(".").join(dir).display().to_string()
}
