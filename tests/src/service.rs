//! A real database server of a test's own, started and stopped by the project's scripts.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

/// A running server; stopped and removed at the end.
pub struct Service {
    name: &'static str,
    dir: TempDir,
    port_base: u16,
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts").join(name)
}

impl Service {
    /// Starts one on free ports; the name is as `start-infra.sh --services` takes it.
    pub async fn start(name: &'static str) -> Self {
        let service = Self { name, dir: tempfile::tempdir().expect("a directory"), port_base: free_port_base() };
        service.start_again().await;
        service
    }

    /// Starts it, the first time or after it was killed.
    pub async fn start_again(&self) {
        let started = Command::new(script("start-infra.sh"))
            .args(["--native", "--services", self.name, "--port-base", &self.port_base.to_string(), "--dir"])
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

/// A base with which the ports of every database are free; below those that the system gives to clients, one
/// of which would take the port of a server that is down.
fn free_port_base() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut bases = (0..220).map(|n| 21_000 + ((n + std::process::id()) % 220) as u16 * 50);
    bases.find(|&base| [30, 40, 41].iter().all(|above| free(base + above))).expect("free ports")
}
