//! Redis servers: the one that all tests share, and those that a test has for itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// Where the shared server is.
pub fn url_of_tests() -> String {
    #[allow(clippy::disallowed_methods, reason = "a test is told where its server is")]
    std::env::var("GOCHAT_TEST_REDIS").expect(
        "GOCHAT_TEST_REDIS says where Redis is, as redis://127.0.0.1:PORT: tests/run.sh starts one, or \
         deployment/scripts/start-infra.sh --native --services redis",
    )
}

/// How long a server may take to start, and its cache to notice.
pub const SOON: Duration = Duration::from_secs(30);

/// A server on a socket in a directory of its own, killed when this is dropped.
pub struct OwnServer {
    dir: TempDir,
    child: Child,
}

impl OwnServer {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(dir.path());
        let mut server = Self { dir, child };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("redis.sock").display())
    }

    /// Stands still, as a process in swap or a virtual machine that moves does.
    pub fn suspend(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again over the snapshot that is there, if any.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.dir.path());
        self.answers().await;
    }

    /// Writes a snapshot, and returns its bytes.
    pub async fn snapshot(&mut self) -> Vec<u8> {
        let () = redis::cmd("SAVE").query_async(&mut self.connection().await).await.unwrap();
        std::fs::read(self.snapshot_path()).unwrap()
    }

    /// Puts a snapshot in place of the one that is there.
    pub fn restore(&self, snapshot: &[u8]) {
        std::fs::write(self.snapshot_path(), snapshot).unwrap();
    }

    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    fn snapshot_path(&self) -> PathBuf {
        self.dir.path().join("dump.rdb")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    async fn answers(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        let deadline = Instant::now() + SOON;
        while client.get_multiplexed_async_connection().await.is_err() {
            assert_eq!(self.child.try_wait().unwrap(), None, "redis-server ended");
            assert!(Instant::now() < deadline, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may be suspended, or gone: a kill ends it in either case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path) -> Child {
    // No port: a socket cannot be in anybody's way.
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--unixsocket")
        .arg(dir.join("redis.sock"))
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run.sh does that")
}
