//! A server in a process of its own, so that its memory is its alone.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::CommandError;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a stop in good order may take.
const STOP_MAX: Duration = Duration::from_secs(30);

/// `gochat run` on the embedded log, by this same binary in a process of its own. It dies with this value at the latest.
pub struct Server {
    child: Child,
    /// Its number as a process.
    pub process: u32,
    /// Where it answers HTTP.
    pub http: String,
}

impl Server {
    /// Starts it with data in `dir` and these settings in its environment; returns when it is ready.
    ///
    /// # Errors
    /// When it does not start. What it says goes to standard error.
    pub async fn start(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, CommandError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["gochat", "run", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]).arg(dir);
        command.envs(settings.iter().copied());
        // It says where it listens in a line of its log.
        command.envs([("GOCHAT__TELEMETRY__FILTER", "info"), ("GOCHAT__TELEMETRY__FORMAT", "json")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("the server's output is not to be had")?;
        let mut lines = BufReader::new(stdout).lines();
        let http = timeout(START_MAX, ready(&mut lines)).await.map_err(|_| {
            format!("the server was not ready within {} s: try `gochat run` to see why", START_MAX.as_secs())
        })??;
        let process = child.id().ok_or("the server ended as soon as it was ready")?;
        // It must not wait for somebody who reads its log.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, process, http })
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not end, or ends with an error.
    pub async fn stop(mut self) -> Result<(), CommandError> {
        let asked = Command::new("kill").args(["-TERM", &self.process.to_string()]).status().await?;
        if !asked.success() {
            return Err("the server ended before it was told to".into());
        }
        let ended = timeout(STOP_MAX, self.child.wait()).await;
        match ended.map_err(|_| format!("the server did not stop within {} s", STOP_MAX.as_secs()))?? {
            status if status.success() => Ok(()),
            status => Err(format!("the server ended with {status}").into()),
        }
    }
}

/// Where it answers HTTP, once it says that it is ready.
async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, CommandError> {
    while let Some(line) = lines.next_line().await? {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let ("ready", Some(http)) = (event["message"].as_str().unwrap_or_default(), event["http"].as_str()) {
            return Ok(http.to_owned());
        }
    }
    Err("the server ended before it was ready: try `gochat run` to see why".into())
}
