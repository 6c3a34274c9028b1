//! A real database server of a test's own, started and stopped by the project's scripts.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::Ports;

/// A running server; stopped and removed at the end.
pub struct Service {
    name: &'static str,
    dir: TempDir,
    ports: Ports,
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts").join(name)
}

impl Service {
    /// Starts one on free ports; the name is as `start-infra.sh --services` takes it.
    pub async fn start(name: &'static str) -> Self {
        let service = Self { name, dir: tempfile::tempdir().expect("a directory"), ports: Ports::reserve() };
        service.start_again().await;
        service
    }

    /// Starts it, the first time or after it was killed.
    pub async fn start_again(&self) {
        let started = Command::new(script("start-infra.sh"))
            .args(["--native", "--services", self.name, "--port-base", &self.ports.base().to_string(), "--dir"])
            .arg(self.infra())
            .stdout(Stdio::null())
            .status()
            .await
            .expect("the script is there");
        assert!(started.success(), "{} starts", self.name);
    }

    /// Where it answers, as clients take it.
    pub fn url(&self) -> String {
        let file = self.infra().join(format!("{}.endpoints", self.name));
        let url = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        url.trim().to_owned()
    }

    /// Sends a signal to the server and to all processes that it has started.
    pub async fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.infra().join(self.name).join("pid")).expect("it was started");
        let pid = pid.trim();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
        // One that has just ended by itself is no failure; the server itself must be there.
        let told = Command::new("kill").args([&format!("-{signal}"), pid]).status().await.expect("kill is there");
        assert!(told.success(), "{} runs", self.name);
        if !children.trim().is_empty() {
            let told = Command::new("kill").arg(format!("-{signal}")).args(children.split_whitespace()).status().await;
            told.expect("kill is there");
        }
    }

    fn infra(&self) -> PathBuf {
        self.dir.path().join("infra")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A failure leaves a server behind, which the next start on this machine does not mind.
        let _ = std::process::Command::new(script("cleanup.sh"))
            .arg("--dir")
            .arg(self.infra())
            .stdout(Stdio::null())
            .status();
    }
}
