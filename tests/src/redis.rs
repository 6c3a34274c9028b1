//! A Redis server of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// How long a server may take to open its socket.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A server on a socket in a directory of its own, killed when this is dropped.
pub struct Redis {
    dir: TempDir,
    child: Child,
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: tests/run.sh does that");
        let deadline = Instant::now() + START_TIME_MAX;
        while UnixStream::connect(&socket).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server opens its socket");
            sleep(Duration::from_millis(20)).await;
        }
        Self { dir, child }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("redis.sock").display())
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let told = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(told.expect("kill is there").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be suspended: a kill ends it all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
