//! A real Kafka of a test's own, one broker or three, started and stopped by the project's scripts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::service::Infra;

/// How long a broker that was killed may take to be gone, and how often that is looked at.
const DEATH_TIME_MAX: Duration = Duration::from_secs(30);
const DEATH_LOOKED_AT_EVERY: Duration = Duration::from_millis(10);

/// A running broker, or three.
pub struct Broker {
    infra: Infra,
    nodes: u16,
}

/// The brokers that all tests share.
#[allow(clippy::disallowed_methods, reason = "where the broker is, only the environment knows")]
pub fn shared() -> String {
    std::env::var("GOCHAT_TEST_KAFKA").expect(
        "set GOCHAT_TEST_KAFKA to a broker's host:port; deployment/scripts/start-infra.sh --native --services kafka starts one at 127.0.0.1:19092",
    )
}

impl Broker {
    /// Starts one on free ports.
    pub async fn start() -> Self {
        let broker = Self::that_is_away();
        broker.start_again().await;
        broker
    }

    /// Starts three, with their data in this directory, where it stays: every record is on all of them, and
    /// acknowledged by two.
    pub async fn start_three_in(dir: PathBuf) -> Self {
        let broker = Self { infra: Infra::given(dir), nodes: 3 };
        broker.start_again().await;
        broker
    }

    /// One with an address, that was never started.
    pub fn that_is_away() -> Self {
        Self { infra: Infra::reserve(), nodes: 1 }
    }

    /// Starts it, the first time or after it was killed.
    pub async fn start_again(&self) {
        self.infra.start("kafka", self.nodes).await;
    }

    /// How many there are.
    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// All die at once.
    pub async fn kill(&self) {
        for node in 1..=self.nodes {
            self.kill_node(node).await;
        }
    }

    /// One of them, counted from 1, dies at once. Until it is gone, which takes a while on a busy machine, it may
    /// still take a record.
    pub async fn kill_node(&self, node: u16) {
        let pid = self.signal("KILL", node).await;
        let gone = async {
            while is_alive(&pid) {
                tokio::time::sleep(DEATH_LOOKED_AT_EVERY).await;
            }
        };
        tokio::time::timeout(DEATH_TIME_MAX, gone).await.expect("a broker that was killed is gone");
    }

    /// Sends a signal, by name, to one of them; its process id.
    pub async fn signal(&self, name: &str, node: u16) -> String {
        let pid_file = self.infra.dir.join(format!("kafka-{node}/pid"));
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_else(|e| panic!("{}: {e}", pid_file.display()));
        let told = Command::new("kill").args([&format!("-{name}"), pid.trim()]).status().await;
        assert!(told.expect("kill is there").success());
        pid.trim().to_owned()
    }

    pub fn address(&self) -> String {
        let addresses: Vec<_> =
            (0..self.nodes).map(|node| format!("127.0.0.1:{}", self.infra.ports.base() + node)).collect();
        addresses.join(",")
    }
}

/// Whether a process has not ended: as a zombie it has once its last thread is gone, which may still take a record.
fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("State:").is_some_and(|state| !state.starts_with('Z') || field("Threads:") != Some("1"))
}
