//! The product's own auditor, `gochat check`, asked about an installation that has stopped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::server::binary;

/// How long it may look.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Asks it.
///
/// # Errors
/// What it says when something is broken, or when it could not look.
pub async fn check(data: &Path, config: &Path) -> Result<(), String> {
    let mut command = Command::new(binary());
    command.arg("check").arg("--data").arg(data).arg("--config").arg(config);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(TIME_MAX, command.output()).await.map_err(|_| format!("no answer within {TIME_MAX:?}"))?;
    let output = output.map_err(|e| format!("gochat check does not start: {e}"))?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(broken(&String::from_utf8_lossy(&output.stdout))),
        Some(_) | None => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// All from the first line about what is broken on: what it is stands behind the verdicts.
fn broken(said: &str) -> String {
    let lines: Vec<_> =
        said.lines().map(str::trim).skip_while(|line| !line.to_lowercase().contains("broken")).collect();
    if lines.is_empty() { said.trim().to_owned() } else { lines.join("; ") }
}
