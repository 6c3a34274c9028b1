//! Output that nobody takes: a log whose reader has gone, does not read or has no room costs the log only; a
//! tool whose reader has gone ends without a word.

use std::fs::File;
use std::io::pipe;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::client::{Socket, connect, receive_type, send};
use tests::server::{Server, binary, metric};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// The longest wait for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What a shell tells of a program that SIGPIPE ended.
const GONE: i32 = 141;

/// A server that logs all it can, its log from the line that says that it is ready, and where it answers HTTP and has its
/// metrics.
async fn talkative(data: &Path, stderr: Stdio) -> (Child, Lines<BufReader<ChildStdout>>, SocketAddr, SocketAddr) {
    let mut command = Command::new(binary());
    command
        .args(["run", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data"])
        .arg(data);
    command.env("GOCHAT__TELEMETRY__FILTER", "trace").env("GOCHAT__TELEMETRY__FORMAT", "json");
    let mut child = command.stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it is ready before its log ends");
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "ready" {
                let at = |name: &str| event[name].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
                return (at("http"), at("metrics"));
            }
        }
    };
    let (http, metrics) = timeout(WAIT_MAX, ready).await.expect("it is ready in time");
    (child, lines, http, metrics)
}

/// It serves, says goodbye to a socket when it is stopped, and ends in good order.
async fn serves_and_stops(mut child: Child, http: SocketAddr) {
    let api = Api::new(http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let mut socket = talks(http, &ann, &bob).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(timeout(WAIT_MAX, close_code(&mut socket)).await.expect("it says goodbye"), Some(1001));
    let ended = timeout(WAIT_MAX, child.wait()).await.expect("it stops in time").unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
}

/// Says something that is stored; the socket that it was said on.
async fn talks(http: SocketAddr, ann: &Account, bob: &Account) -> Socket {
    let mut socket = connect(http, &ann.token).await.unwrap();
    let message = json!({"type": "send-message", "data": {"clientMsgId": "one",
        "conversationId": ann.pair_with(bob), "messageType": "text", "content": "one"}});
    send(&mut socket, &message).await.unwrap();
    let stored = timeout(WAIT_MAX, receive_type(&mut socket, "message-stored")).await;
    stored.expect("the chain goes on").unwrap();
    socket
}

async fn close_code(socket: &mut Socket) -> Option<u16> {
    while let Some(frame) = socket.next().await {
        if let Ok(Message::Close(close)) = frame {
            return close.map(|close| close.code.into());
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_has_gone_costs_the_log_only() {
    let data = tempfile::tempdir().unwrap();
    let (child, log, http, _) = talkative(data.path(), Stdio::inherit()).await;
    drop(log);
    serves_and_stops(child, http).await;
}

/// As in `gochat run 2>&1 | head -1`.
#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_when_nobody_reads_stderr_either() {
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let (child, log, http, _) = talkative(data.path(), writer.into()).await;
    drop(log);
    serves_and_stops(child, http).await;
}

/// The pipe is full after 64 KiB, and the buffer behind it some time later.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_holds_nothing_up() {
    let data = tempfile::tempdir().unwrap();
    let (child, log, http, metrics) = talkative(data.path(), Stdio::inherit()).await;
    let api = Api::new(http);
    let cleo = api.register("cleo").await;
    let lost = async {
        while metric(metrics, "gochat_log_lines_lost_total").await < 1.0 {
            // Each of these calls, which may also be refused, leaves some lines of the connection to the repo.
            let call = || api.call(Method::GET, "/api/conversations", Some(&cleo.token), None);
            join_all((0..16).map(|_| call())).await;
        }
    };
    timeout(WAIT_MAX, lost).await.expect("what has no room is lost, and counted");
    serves_and_stops(child, http).await;
    drop(log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_costs_the_log_only() {
    let data = tempfile::tempdir().unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(binary());
    command.args(["run", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]).arg(data.path());
    let mut child = command.stdout(full()).stderr(full()).kill_on_drop(true).spawn().unwrap();
    // It can't say where it listens: the file that its start makes last tells that it goes on.
    let started = async { while !data.path().join("slot-0.epoch").exists() {} };
    timeout(WAIT_MAX, tokio::task::unconstrained(started)).await.expect("it starts");
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(timeout(WAIT_MAX, child.wait()).await.expect("it stops in time").unwrap().code(), Some(0));
}

async fn run(args: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
    timeout(WAIT_MAX, command.spawn().unwrap().wait_with_output()).await.expect("it ends in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_end_without_a_word_when_their_reader_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    talks(server.http, &ann, &bob).await;
    let data = dir.path().to_str().unwrap();
    let tools: [&[&str]; 8] = [
        &["topics", "list", "--data", data],
        &["topics", "list", "--json", "--data", data],
        &["topics", "describe", "sequenced-messages", "--data", data],
        &["topics", "tail", "sequenced-messages", "--data", data],
        &["topics", "dead-letters", "list", "--data", data],
        &["check", "--data", data],
        &["rebuild", "store", "--data", data],
        &["run", "--help"],
    ];
    for args in tools {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = run(args, writer).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(GONE), "{args:?}: {said}");
        // Some tell on stderr how far they are; none that it failed.
        assert!(!said.contains("panicked") && !said.contains("gochat:"), "{args:?}: {said}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = run(args, full).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        let code = if matches!(args[0], "check" | "rebuild") { 2 } else { 1 };
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains("No space left") && !said.contains("panicked"), "{args:?}: {said}");
    }
    assert!(server.stop().await.success());
}

/// Whoever closes stderr wants to hear nothing, and gets the result all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_needs_nobody_to_read_its_notes() {
    let data = tempfile::tempdir().unwrap();
    assert!(Server::start(data.path()).await.stop().await.success());
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(writer), Stdio::from(full)] {
        let mut command = Command::new(binary());
        command.args(["check", "--data"]).arg(data.path()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let ended = timeout(WAIT_MAX, command.spawn().unwrap().wait_with_output()).await.unwrap().unwrap();
        let out = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.code(), Some(0), "{out}");
        assert!(out.contains("GAPLESS"), "{out}");
    }
}
