//! A hostile client is one client: others notice little of it, and the log says who it is.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tests::api::{Account, Api};
use tests::open_files::raise_limit;
use tests::server::{Launch, Server, any_port};
use tests::users::{Talker, quiet_users};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// An address of loopback that nobody else has.
const HOSTILE: &str = "127.0.0.9";
const FEW_FILES: u64 = 256;
/// What a connection sends that never finishes a request.
const UNFINISHED: [&str; 6] = [
    "",
    "GET /health/live HTTP/1.1\r\nHo",
    "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"user",
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// A connection that has sent this and nothing else, unless it was refused.
async fn hold(at: SocketAddr, sent: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(HOSTILE.parse().unwrap(), 0)).unwrap();
    let mut stream = timeout(Duration::from_secs(10), socket.connect(at)).await.ok()?.ok()?;
    stream.write_all(sent.as_bytes()).await.ok()?;
    Some(stream)
}

/// The listeners that a log warns of, with the hostile address.
fn warned_of(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let warnings = lines.filter(|line| line["level"] == "WARN" && line["address"] == HOSTILE);
    warnings.filter_map(|line| line["listener"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_open_files_connections_that_say_nothing_keep_nobody_out() {
    // One address may hold a share, or all there are.
    for an_address in ["4000", "60000"] {
        let data = tempfile::tempdir().unwrap();
        let log = data.path().join("process.log");
        let env = [("GOCHAT__GATEWAY__LIMITS__CONNECTIONS_AN_ADDRESS_MAX", an_address)];
        let launch = Launch { log: Some(log.clone()), open_files_max: Some(FEW_FILES), ..Launch::new(&[], &env) };
        let server = Server::launch(data.path(), any_port(), any_port(), &launch).await.unwrap();
        let ann = Api::new(server.http).register("ann").await;
        let mut anns = Talker::connect(&server, &ann).await;
        let mut held = Vec::new();
        for at in [server.http, server.grpc, server.metrics] {
            for _ in 0..FEW_FILES + 50 {
                held.push(hold(at, "").await);
            }
        }
        for first in held.iter_mut().step_by(usize::try_from(FEW_FILES + 50).unwrap()) {
            let mut said = Vec::new();
            let end = timeout(Duration::from_secs(10), first.as_mut().unwrap().read_to_end(&mut said)).await;
            assert!(end.is_ok(), "the oldest of a listener is closed");
        }
        let bob = Api::new(server.http).register("bob").await;
        let mut bobs = Talker::connect(&server, &bob).await;
        anns.say(&ann.pair_with(&bob), "hello").await;
        bobs.hears("message").await;
        quiet_users(server.grpc, 0..1).await;
        for listener in ["gateway", "repo", "metrics"] {
            let name = format!("gochat_connections_refused_total{{listener=\"{listener}\",reason=\"replaced\"}}");
            assert!(server.metric(&name).await > 100.0, "{listener}");
            assert!(warned_of(&log).iter().any(|warned| warned == listener), "{listener}: {:?}", warned_of(&log));
        }
        assert!(warned_of(&log).len() <= 9, "a line a minute for each reason: {:?}", warned_of(&log));
        assert!(server.stop().await.success());
    }
}

/// How long all calls but one in a hundred take at most.
async fn p99(api: &Api, ann: &Account) -> Duration {
    let mut took = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        api.ok(Method::GET, "/api/users/me", ann, None).await;
        took.push(start.elapsed());
    }
    took.sort();
    took[494]
}

#[tokio::test(flavor = "multi_thread")]
async fn others_notice_little_of_thousands_of_connections_that_never_finish() {
    let data = tempfile::tempdir().unwrap();
    let env = [("GOCHAT__GATEWAY__LIMITS__CONNECTIONS_AN_ADDRESS_MAX", "1000")];
    let server = Server::launch(data.path(), any_port(), any_port(), &Launch::new(&[], &env)).await.unwrap();
    raise_limit();
    let api = Api::new(server.http);
    let ann = api.register("ann").await;
    let before = p99(&api, &ann).await;
    let mut held = Vec::new();
    for n in 0..2_100 {
        held.push(hold(server.http, UNFINISHED[n % UNFINISHED.len()]).await);
    }
    let http = server.http;
    let attack = tokio::spawn(async move {
        let mut at = 0;
        loop {
            held[at] = hold(http, UNFINISHED[at % UNFINISHED.len()]).await;
            at = (at + 1) % held.len();
        }
    });
    let during = p99(&api, &ann).await;
    println!("p99 of others: {before:?} before the attack, {during:?} while it holds and reopens 2,100 connections");
    attack.abort();
    let open = server.metric("gochat_connections_open{listener=\"gateway\"}").await;
    assert!(open <= 1_010.0, "one address holds its share: {open}");
    assert!(during < before * 10 + Duration::from_millis(200), "{before:?} before, {during:?} during");
    assert!(server.stop().await.success());
}
