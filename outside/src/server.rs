//! The real binary as a process of its own, in a directory of its own.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a start may take before the test gives up. (What the product promises is checked apart.)
const START_TIME_MAX: Duration = Duration::from_secs(90);
/// How long a graceful stop may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
/// So many of its newest warnings and errors a failing test shows.
const COMPLAINTS_MAX: usize = 40;
/// A process's log is kept up to here; the rest is read and dropped.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// A running `gochat`.
pub struct Server {
    child: Child,
    /// Its newest warnings and errors, for a test that fails.
    complaints: Complaints,
    /// Writes its log until its output ends.
    logging: JoinHandle<()>,
    /// Where it answers HTTP; of no use where it has no gateway.
    pub http: SocketAddr,
    /// Where it answers gRPC; of no use where it has no repo.
    pub grpc: SocketAddr,
    /// Where its metrics can be scraped.
    pub metrics: SocketAddr,
    /// What it says its start took, in ms.
    pub startup_ms: u64,
    /// Its data, where nobody else has it.
    data: Option<TempDir>,
}

/// How a process is started, beside its data and addresses.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    pub args: Vec<String>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// Where its log goes, at the end of what is there.
    pub log: Option<PathBuf>,
    /// Its limit of open files, where that is not this process's.
    pub open_files_max: Option<u64>,
}

impl Launch {
    /// With these arguments and environment variables.
    pub fn new(args: &[&str], env: &[(&str, &str)]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { args, env, ..Self::default() }
    }
}

/// A process that ended instead of getting ready.
#[derive(Debug)]
pub struct Refused {
    /// Its exit code, when it was not killed.
    pub code: Option<i32>,
    /// What it said on stderr.
    pub said: String,
}

/// The binary that cargo built beside this test or program.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let dir = own.parent().expect("target/PROFILE/deps or target/PROFILE");
    let mut beside = [Some(dir), dir.parent()].into_iter().flatten().map(|dir| dir.join("gochat"));
    let found = beside.find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no gochat beside {}: build it first, by `cargo build`", own.display()))
}

/// Any free port of loopback.
pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Server {
    /// Starts everything in one process, on free ports, with data that goes with it.
    pub async fn fresh() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut server = Self::start(data.path()).await;
        server.data = Some(data);
        server
    }

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
        let launch = Launch { args: args.to_vec(), ..Launch::default() };
        Self::launch(data, http, grpc, &launch).await.unwrap_or_else(|refused| panic!("it does not start: {refused:?}"))
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn launch(data: &Path, http: SocketAddr, grpc: SocketAddr, launch: &Launch) -> Result<Self, Refused> {
        Starting::new(data, http, grpc, launch).ready().await
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits until it ends by itself, and all that it said is in its log.
    pub async fn ends(mut self) -> ExitStatus {
        let ended = timeout(STOP_TIME_MAX, self.child.wait()).await.expect("it ends in time").expect("it ends");
        (&mut self.logging).await.expect("its log is written");
        ended
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

    /// Stops them in good order, one after the other.
    pub async fn stop_all(servers: impl IntoIterator<Item = Self>) {
        for server in servers {
            assert!(server.stop().await.success());
        }
    }

    /// The value of one of its metrics.
    pub async fn metric(&self, name: &str) -> f64 {
        metric(self.metrics, name).await
    }

    /// Address of the page and of REST.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            let complaints: Vec<&str> = complaints.iter().map(String::as_str).collect();
            eprintln!("process {:?}, newest complaint first:\n{}", self.child.id(), complaints.join("\n"));
        }
    }
}

/// A `gochat` that is not ready yet, and perhaps never will be.
pub struct Starting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: Log,
    /// What it says on stderr, collected until its end.
    said: JoinHandle<String>,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Starting {
    pub fn new(data: &Path, http: SocketAddr, grpc: SocketAddr, launch: &Launch) -> Self {
        Self::spawn(command(data, http, grpc, launch), http, grpc, launch)
    }

    /// Starts it in this directory, which the path of its data may be relative to.
    pub fn in_dir(dir: &Path, data: &Path, http: SocketAddr, grpc: SocketAddr, launch: &Launch) -> Self {
        let mut command = command(data, http, grpc, launch);
        command.current_dir(dir);
        Self::spawn(command, http, grpc, launch)
    }

    fn spawn(mut command: Command, http: SocketAddr, grpc: SocketAddr, launch: &Launch) -> Self {
        if !launch.args.iter().any(|arg| arg == "--metrics") {
            command.args(["--metrics", &any_port().to_string()]);
        }
        command.args(&launch.args).envs(launch.env.iter().cloned());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let file = launch.log.as_deref().map(|path| {
            let file = std::fs::File::options().create(true).append(true).open(path);
            file.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        });
        let said = tokio::spawn(all_of(child.stderr.take().expect("stderr is piped"), file.is_none()));
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { child, lines, log: Log { file, bytes: 0, complaints: Arc::default() }, said, http, grpc }
    }

    /// Waits for a line of its log with these words.
    pub async fn says(&mut self, words: &str) -> Value {
        let wanted = |event: &Value| event["message"].as_str().is_some_and(|said| said.contains(words));
        let line = timeout(START_TIME_MAX, self.line(wanted)).await;
        line.ok().flatten().unwrap_or_else(|| panic!("it never says {words:?}"))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn ready(mut self) -> Result<Server, Refused> {
        let ready = timeout(START_TIME_MAX, self.line(|event| event["message"] == "ready")).await;
        let Some(ready) = ready.expect("it is ready in time, or ends") else {
            return Err(self.refused().await);
        };
        let Self { child, mut lines, mut log, said, http, grpc } = self;
        let complaints = log.complaints.clone();
        // Its log goes on; nobody may block on a full pipe.
        let logging = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.write(&line);
            }
            log.write(&said.await.unwrap_or_default());
        });
        let field = |name: &str| ready[name].as_str();
        Ok(Server {
            child,
            complaints,
            logging,
            http: field("http").map_or(http, |url| url.trim_start_matches("http://").parse().expect("an address")),
            grpc: field("grpc").map_or(grpc, |address| address.parse().expect("an address")),
            metrics: field("metrics").expect("it serves metrics").parse().expect("an address"),
            startup_ms: ready["startup_ms"].as_u64().expect("a number"),
            data: None,
        })
    }

    /// Waits until it ends by itself, ready or not.
    pub async fn ended(mut self) -> Refused {
        let silent = timeout(START_TIME_MAX, self.line(|_| false)).await;
        silent.expect("it refuses instead of running");
        self.refused().await
    }

    async fn refused(mut self) -> Refused {
        let code = timeout(STOP_TIME_MAX, self.child.wait()).await.expect("it ends in time").expect("it ends").code();
        Refused { code, said: self.said.await.expect("stderr can be read") }
    }

    /// The next line of its log that is wanted; `None` when its output ends before.
    async fn line(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let line = self.lines.next_line().await.expect("text")?;
            self.log.write(&line);
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && wanted(&event)
            {
                return Some(event);
            }
        }
    }
}

/// Runs it until it refuses to start.
pub async fn refusal(data: &Path, http: SocketAddr, grpc: SocketAddr) -> Refused {
    Starting::new(data, http, grpc, &Launch::default()).ended().await
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

/// The value of a metric, with its labels, at this address; 0 where it was never set.
pub async fn metric(at: SocketAddr, name: &str) -> f64 {
    let page = reqwest::get(format!("http://{at}/metrics")).await.expect("it answers");
    let page = page.text().await.expect("metrics are text");
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
}

fn command(data: &Path, http: SocketAddr, grpc: SocketAddr, launch: &Launch) -> Command {
    // Whoever runs the tests may ignore SIGHUP, which a process inherits.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP");
    if let Some(max) = launch.open_files_max {
        command.args(["prlimit", &format!("--nofile={max}")]);
    }
    command.arg(binary());
    command.args(["run", "--data"]).arg(data);
    command.args(["--http", &http.to_string(), "--grpc", &grpc.to_string()]);
    // Many users sign up from one address here, and few of them say much.
    for limit in [
        "CONNECTIONS_AN_ADDRESS_MAX",
        "CONNECTIONS_A_SECOND_AN_ADDRESS",
        "REQUESTS_A_SECOND_AN_ADDRESS",
        "SIGN_INS_A_SECOND_AN_ADDRESS",
        "REGISTRATIONS_A_MINUTE_AN_ADDRESS",
        "LATE_MESSAGES_A_SECOND_A_USER",
    ] {
        command.env(format!("GOCHAT__GATEWAY__LIMITS__{limit}"), "100000");
    }
    command
}

/// Where a process's log goes.
struct Log {
    file: Option<std::fs::File>,
    bytes: u64,
    complaints: Complaints,
}

/// The newest warnings and errors that it logged, newest first.
type Complaints = Arc<Mutex<VecDeque<String>>>;

impl Log {
    fn write(&mut self, line: &str) {
        if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
            let mut kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            kept.truncate(COMPLAINTS_MAX - 1);
            kept.push_front(line.to_owned());
        }
        if let Some(file) = &mut self.file
            && self.bytes < LOG_BYTES_MAX
        {
            self.bytes += line.len() as u64;
            // A log that can't be written only makes a failure harder to explain.
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Everything that comes until the end, passed on as it comes where that is wanted.
async fn all_of(stderr: ChildStderr, pass_on: bool) -> String {
    let (mut lines, mut said) = (BufReader::new(stderr).lines(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        if pass_on {
            eprintln!("{line}");
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}
