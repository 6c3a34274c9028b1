//! Real servers of a test's own, started and stopped by the project's scripts: here, databases.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::Ports;

/// A script of the deployment.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts").join(name)
}

/// Where the scripts keep servers, and at which ports; they are stopped at the end, and removed where the directory was
/// not given.
pub struct Infra {
    pub dir: PathBuf,
    pub ports: Ports,
    own: Option<TempDir>,
}

impl Infra {
    /// In a directory of its own.
    pub fn reserve() -> Self {
        let own = tempfile::tempdir().expect("a directory");
        Self { dir: own.path().join("infra"), ports: Ports::reserve(), own: Some(own) }
    }

    /// In this directory, where the data stays.
    pub fn given(dir: PathBuf) -> Self {
        Self { dir, ports: Ports::reserve(), own: None }
    }

    /// Starts servers, as `start-infra.sh --services` takes them, the first time or after they were killed.
    pub async fn start(&self, services: &str, nodes: u16) {
        let (port, nodes) = (self.ports.base().to_string(), nodes.to_string());
        let started = Command::new(script("start-infra.sh"))
            .args(["--native", "--services", services, "--port-base", &port, "--nodes", &nodes, "--dir"])
            .arg(&self.dir)
            .stdout(Stdio::null())
            .status()
            .await
            .expect("the script is there");
        assert!(started.success(), "{services} starts");
    }
}

impl Drop for Infra {
    fn drop(&mut self) {
        let mut cleanup = std::process::Command::new(script("cleanup.sh"));
        cleanup.arg("--dir").arg(&self.dir);
        if self.own.is_none() {
            cleanup.arg("--keep-data");
        }
        // A failure leaves a server behind, which the next start on this machine does not mind.
        let _ = cleanup.stdout(Stdio::null()).status();
    }
}

/// A running database server.
pub struct Service {
    name: &'static str,
    infra: Infra,
}

impl Service {
    /// Starts one on free ports; the name is as `start-infra.sh --services` takes it.
    pub async fn start(name: &'static str) -> Self {
        let service = Self { name, infra: Infra::reserve() };
        service.start_again().await;
        service
    }

    /// Starts it, the first time or after it was killed.
    pub async fn start_again(&self) {
        self.infra.start(self.name, 1).await;
    }

    /// Where it answers, as clients take it.
    pub fn url(&self) -> String {
        let file = self.infra.dir.join(format!("{}.endpoints", self.name));
        let url = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        url.trim().to_owned()
    }

    /// Sends a signal to the server and to all processes that it has started.
    pub async fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.infra.dir.join(self.name).join("pid")).expect("it was started");
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
}
