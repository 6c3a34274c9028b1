//! The real binary as a process of its own, in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a start may take before the test gives up. (What the product promises is checked apart.)
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a graceful stop may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// A running `gochat`.
pub struct Server {
    child: Child,
    /// Where it answers HTTP; of no use where it has no gateway.
    pub http: SocketAddr,
    /// Where it answers gRPC; of no use where it has no repo.
    pub grpc: SocketAddr,
    /// What it says its start took, in ms.
    pub startup_ms: u64,
}

/// The binary that cargo built beside this test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let beside = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").join("gochat");
    assert!(beside.is_file(), "{} is missing: run tests/run.sh, which builds it first", beside.display());
    beside
}

/// Any free port of loopback.
pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Server {
    /// Starts everything in one process, on free ports.
    pub async fn start(data: &Path) -> Self {
        Self::start_at(data, any_port(), any_port()).await
    }

    /// Starts everything in one process, on these ports.
    pub async fn start_at(data: &Path, http: SocketAddr, grpc: SocketAddr) -> Self {
        Self::start_with(data, http, grpc, &[]).await
    }

    /// Starts it with further arguments.
    pub async fn start_with(data: &Path, http: SocketAddr, grpc: SocketAddr, args: &[String]) -> Self {
        let mut command = command(data, http, grpc);
        let mut child = command.args(args).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let ready = timeout(START_TIME_MAX, ready_line(&mut lines)).await.expect("it is ready in time");
        // Its log goes on; nobody may block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let field = |name: &str| ready[name].as_str();
        Self {
            child,
            http: field("http").map_or(http, |url| url.trim_start_matches("http://").parse().expect("an address")),
            grpc: field("grpc").map_or(grpc, |address| address.parse().expect("an address")),
            startup_ms: ready["startup_ms"].as_u64().expect("a number"),
        }
    }

    /// Sends it a signal, by name.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.expect("kill is there");
        assert!(told.success());
    }

    /// Dies at once, as by a power cut to the process.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("it runs");
        self.child.wait().await.expect("it ends");
    }

    /// Stops in good order.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("TERM").await;
        timeout(STOP_TIME_MAX, self.child.wait()).await.expect("it stops in time").expect("it ends")
    }

    /// Address of the page and of REST.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }
}

/// Runs it until it refuses to start, and returns its exit code and what it said on stderr.
pub async fn refusal(data: &Path, http: SocketAddr, grpc: SocketAddr) -> (Option<i32>, String) {
    let mut child = command(data, http, grpc)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let ended = async {
        stderr.read_to_string(&mut said).await.expect("text");
        child.wait().await.expect("it ends")
    };
    let status = timeout(START_TIME_MAX, ended).await.expect("it refuses instead of running");
    (status.code(), said)
}

/// How long a tool may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(120);

/// Runs a tool to its end: its exit code, and what it wrote to stdout and stderr.
pub async fn tool(args: &[&str]) -> (Option<i32>, String, String) {
    let ended = Command::new(binary()).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(TOOL_TIME_MAX, ended).await.expect("it ends in time").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn command(data: &Path, http: SocketAddr, grpc: SocketAddr) -> Command {
    let mut command = Command::new(binary());
    command.args(["run", "--data"]).arg(data);
    command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string()]);
    // Many users sign up from one address here.
    for limit in ["REQUESTS_A_SECOND_AN_ADDRESS", "SIGN_INS_A_SECOND_AN_ADDRESS"] {
        command.env(format!("GOCHAT__GATEWAY__LIMITS__{limit}"), "100000");
    }
    command
}

async fn ready_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    loop {
        let line = lines.next_line().await.expect("text").expect("it is ready before its output ends");
        if let Ok(event) = serde_json::from_str::<Value>(&line)
            && event["message"] == "ready"
        {
            return event;
        }
    }
}
