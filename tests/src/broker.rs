//! A real Kafka of a test's own, started and stopped by the project's scripts.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

/// A running broker; stopped and removed at the end.
pub struct Broker {
    dir: TempDir,
    port: u16,
}

/// The brokers that all tests share.
#[allow(clippy::disallowed_methods, reason = "where the broker is, only the environment knows")]
pub fn shared() -> String {
    std::env::var("GOCHAT_TEST_KAFKA").expect(
        "set GOCHAT_TEST_KAFKA to a broker's host:port; deployment/scripts/start-infra.sh --native --services kafka starts one at 127.0.0.1:19092",
    )
}

/// A script of the deployment.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts").join(name)
}

impl Broker {
    /// Starts one on free ports.
    pub async fn start() -> Self {
        let broker = Self::that_is_away();
        broker.start_again().await;
        broker
    }

    /// One with an address, that was never started.
    pub fn that_is_away() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), port: free_port_base() }
    }

    /// Starts it, the first time or after it was killed.
    pub async fn start_again(&self) {
        let port = self.port.to_string();
        let started = Command::new(script("start-infra.sh"))
            .args(["--native", "--services", "kafka", "--port-base", &port, "--dir"])
            .arg(self.dir.path().join("infra"))
            .status()
            .await
            .expect("the script is there");
        assert!(started.success(), "the broker starts");
    }

    /// Dies at once.
    pub async fn kill(&self) {
        let pid_file = self.dir.path().join("infra/kafka-1/pid");
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_else(|e| panic!("{}: {e}", pid_file.display()));
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().await.expect("kill is there");
        assert!(killed.success());
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let infra = self.dir.path().join("infra");
        // A failure leaves a broker behind, which the next start on this machine does not mind.
        let _ = std::process::Command::new(script("cleanup.sh")).arg("--dir").arg(infra).status();
    }
}

/// A port with which the controller's, ten above, is free too.
fn free_port_base() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut bases = (21_000..30_000).step_by(100).skip(usize::from(std::process::id() as u16 % 50));
    bases.find(|&base| free(base) && free(base + 10)).expect("a free port")
}
