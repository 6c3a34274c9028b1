//! What a tool says when it is pointed at a directory without an installation.

use std::path::{Path, PathBuf};

/// What a tool looks for is not there.
#[derive(Debug, thiserror::Error)]
#[error("no {what} in {}: pass --data or --config", shown(.dir))]
pub struct Absent {
    pub what: &'static str,
    /// Where it was looked for.
    pub dir: PathBuf,
}

/// A directory as people write it, so that a relative one is seen to be one.
fn shown(dir: &Path) -> String {
    Path::new(".").join(dir).display().to_string()
}
