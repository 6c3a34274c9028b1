//! A Redis server of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use crate::ports::Ports;

/// How long a server may take to open its socket.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A server with a directory of its own, killed when this is dropped.
pub struct Redis {
    url: String,
    child: Child,
    dir: TempDir,
    _ports: Option<Ports>,
}

impl Redis {
    /// Starts one on a socket in its directory, that keeps nothing on disk.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("redis.sock");
        let child = spawn(&["--port", "0", "--unixsocket", text(&socket)]);
        await_start(async || UnixStream::connect(&socket).await.is_ok()).await;
        Self { url: format!("redis+unix://{}", socket.display()), child, dir, _ports: None }
    }

    /// Starts one that takes TLS alone, and this password, and shows a certificate of [`authority`](Self::authority).
    pub async fn start_with_tls(password: &str) -> Self {
        let (dir, ports) = (tempfile::tempdir().expect("a directory"), Ports::reserve());
        make_authority(dir.path());
        let [authority, certificate, key] = ["authority.pem", "server.pem", "server.key"].map(|f| dir.path().join(f));
        let port = ports.base().to_string();
        let files = ["--tls-ca-cert-file", text(&authority), "--tls-cert-file", text(&certificate)];
        let server = ["--tls-key-file", text(&key), "--tls-auth-clients", "no", "--requirepass", password];
        let child =
            spawn(&[&["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port], &files[..], &server].concat());
        await_start(async || TcpStream::connect(("127.0.0.1", ports.base())).await.is_ok()).await;
        Self { url: format!("rediss://127.0.0.1:{port}"), child, dir, _ports: Some(ports) }
    }

    /// Where clients find it, without the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that vouches for one with TLS.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
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

fn spawn(arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--save", "", "--appendonly", "no"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run.sh does that")
}

async fn await_start(answers: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + START_TIME_MAX;
    while !answers().await {
        assert!(Instant::now() < deadline, "redis-server opens its socket");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Makes an authority in the directory, and a certificate of it for this machine.
pub fn make_authority(dir: &Path) {
    let make = |name: &str, subject: &str, extras: &[&str]| {
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let [key, certificate] = ["key", "pem"].map(|ending| dir.join(format!("{name}.{ending}")));
        let made = Command::new("openssl")
            .args(new)
            .args(["-keyout", text(&key), "-out", text(&certificate), "-subj", subject])
            .args(extras)
            .output()
            .expect("openssl is installed: tests/run.sh does that");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("authority", "/CN=authority of a test", &[]);
    let [authority, key] = ["authority.pem", "authority.key"].map(|file| dir.join(file));
    let signed = ["-CA", text(&authority), "-CAkey", text(&key)];
    let of_a_server = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    make("server", "/CN=127.0.0.1", &[signed, of_a_server].concat());
}

fn text(path: &Path) -> &str {
    path.to_str().expect("directories of tests have plain names")
}
