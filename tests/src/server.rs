//! The real binary as a process of its own, in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
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
        Starting::new(data, http, grpc, args).ready().await
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

/// A `gochat` that is not ready yet, and perhaps never will be.
pub struct Starting {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
    /// What it says on stderr, collected until its end.
    said: JoinHandle<String>,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Starting {
    /// Starts it.
    pub fn new(data: &Path, http: SocketAddr, grpc: SocketAddr, args: &[String]) -> Self {
        let mut command = command(data, http, grpc);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let log = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let said = tokio::spawn(collect(child.stderr.take().expect("stderr is piped")));
        Self { child, log, said, http, grpc }
    }

    /// Waits for a line of its log with these words.
    pub async fn says(&mut self, words: &str) -> Value {
        let wanted = |event: &Value| event["message"].as_str().is_some_and(|said| said.contains(words));
        let line = timeout(START_TIME_MAX, line_of(&mut self.log, wanted)).await;
        line.unwrap_or_else(|_| panic!("it never says {words:?}"))
    }

    /// Waits until it is ready.
    pub async fn ready(mut self) -> Server {
        let ready = line_of(&mut self.log, |event| event["message"] == "ready");
        let ready = timeout(START_TIME_MAX, ready).await.expect("it is ready in time");
        let Self { child, mut log, http, grpc, .. } = self;
        // Its log goes on; nobody may block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let field = |name: &str| ready[name].as_str();
        Server {
            child,
            http: field("http").map_or(http, |url| url.trim_start_matches("http://").parse().expect("an address")),
            grpc: field("grpc").map_or(grpc, |address| address.parse().expect("an address")),
            startup_ms: ready["startup_ms"].as_u64().expect("a number"),
        }
    }

    /// Waits until it ends by itself; its exit code, and what it said on stderr.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let ended = async {
            while let Ok(Some(_)) = self.log.next_line().await {}
            self.child.wait().await.expect("it ends")
        };
        let status = timeout(START_TIME_MAX, ended).await.expect("it refuses instead of running");
        (status.code(), self.said.await.expect("it is read"))
    }
}

/// Runs it until it refuses to start, and returns its exit code and what it said on stderr.
pub async fn refusal(data: &Path, http: SocketAddr, grpc: SocketAddr) -> (Option<i32>, String) {
    Starting::new(data, http, grpc, &[]).ended().await
}

/// Everything that comes until the end, passed on as it comes.
async fn collect(stderr: ChildStderr) -> String {
    let (mut lines, mut said) = (BufReader::new(stderr).lines(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    said
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

async fn line_of(log: &mut Lines<BufReader<ChildStdout>>, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let line = log.next_line().await.expect("text").expect("its output goes on until then");
        if let Ok(event) = serde_json::from_str::<Value>(&line)
            && wanted(&event)
        {
            return event;
        }
    }
}
