//! A hostile client is one client: whatever it does over its sockets, others hardly notice, and memory stays bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::client::{Socket, connect, receive_type};
use tests::open_files::raise_limit;
use tests::server::Server;
use tests::users::{Talker, registered, served, text};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Sockets that one user may have.
const SOCKETS_OF_A_USER: usize = 32;
const ROUNDS: usize = 20;
/// What the clients of a test take of the machine that the server runs on, too.
const OWN_SHARE: Duration = Duration::from_secs(1);
/// The same of many users, who together may ask for more than a machine does: others wait, and are served.
const SHARE_OF_MANY: Duration = Duration::from_secs(4);

/// What others see: from a message to its `message-stored`, and a call of REST.
struct Seen {
    stored: Vec<Duration>,
    called: Vec<Duration>,
}

impl Seen {
    fn p50(latencies: &[Duration]) -> Duration {
        latencies[latencies.len() / 2]
    }

    fn p99(latencies: &[Duration]) -> Duration {
        latencies[latencies.len() * 99 / 100]
    }

    fn show(&self, when: &str) {
        for (what, latencies) in [("stored", &self.stored), ("REST", &self.called)] {
            println!("{when}: {what} p50 {:?}, p99 {:?}", Self::p50(latencies), Self::p99(latencies));
        }
    }
}

/// Talks and calls for some rounds.
async fn look(talker: &mut Talker, api: &Api, account: &Account) -> Seen {
    let (mut stored, mut called) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        talker.say("world", "hello").await;
        stored.push(start.elapsed());
        let start = Instant::now();
        let (status, _) = api.call(Method::GET, "/api/users/me", Some(&account.token), None).await;
        assert_eq!(status, 200);
        called.push(start.elapsed());
    }
    stored.sort_unstable();
    called.sort_unstable();
    Seen { stored, called }
}

/// Sees that others notice little while these sockets send this frame again and again, each as soon as it has as many
/// frames of this type as are due for the one before.
async fn check_others_go_on(
    server: &Server,
    (api, account): (&Api, &Account),
    sockets: Vec<Socket>,
    frame: &Value,
    (kind, due): (&str, usize),
    share: Duration,
) {
    let mut talker = Talker::connect(server, account).await;
    let calm = look(&mut talker, api, account).await;
    calm.show("before");
    let answered = Arc::new(AtomicUsize::new(0));
    let text = Utf8Bytes::from(frame.to_string());
    let start_of_due = format!("{{\"type\":\"{kind}\"");
    let mut hostile = JoinSet::new();
    for socket in sockets {
        hostile.spawn(sends_and_reads(socket, text.clone(), start_of_due.clone(), due, answered.clone()));
    }
    let start = Instant::now();
    let seen = look(&mut talker, api, account).await;
    let frames = answered.load(Ordering::SeqCst);
    seen.show("during");
    println!("{frames} of their frames were answered in {:?}", start.elapsed());
    assert!(frames > 0 && hostile.try_join_next().is_none(), "they go on until they are stopped");
    hostile.shutdown().await;
    for (before, during) in [(&calm.stored, &seen.stored), (&calm.called, &seen.called)] {
        let (before, during) = (Seen::p50(before), Seen::p50(during));
        assert!(during <= before * 2 + share, "p50 was {before:?} and rose to {during:?}");
    }
}

async fn sockets_of(server: &Server, accounts: &[Account], each: usize) -> Vec<Socket> {
    raise_limit();
    let mut sockets = Vec::new();
    for account in accounts {
        for _ in 0..each {
            let mut socket = connect(server.http, &account.token).await.unwrap();
            receive_type(&mut socket, "hello").await.unwrap();
            sockets.push(socket);
        }
    }
    sockets
}

/// Sends a frame again and again, each after the answers to the one before, as often as the rate allows.
async fn sends_and_reads(mut socket: Socket, frame: Utf8Bytes, answer: String, due: usize, answered: Arc<AtomicUsize>) {
    loop {
        socket.send(Message::Text(frame.clone())).await.expect("it is open");
        let mut came = 0;
        while came < due {
            match socket.next().await.expect("it is open").expect("it is open") {
                Message::Text(text) if text.starts_with(&answer) => came += 1,
                Message::Text(text) if text.contains("RateLimited") => {
                    let ms = text.split_once("wait ").and_then(|(_, wait)| wait.split_once(" ms")).expect("a wait").0;
                    tokio::time::sleep(Duration::from_millis(ms.parse().expect("a number"))).await;
                    break;
                }
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
        answered.fetch_add(usize::from(came == due), Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_while_hundreds_of_sockets_follow_the_same_users() {
    const USERS: usize = 30;
    let (server, api, [ann]) = served(["ann"]).await;
    let names: [&'static str; USERS] = std::array::from_fn(|n| &*format!("hostile{n}").leak());
    let hostile = registered(&api, names).await;
    let ids: Vec<_> = hostile.iter().map(|account| &account.user_id).collect();
    let frame = json!({"type": "subscribe-presence", "data": {"userIds": ids}});
    let sockets = sockets_of(&server, &hostile, SOCKETS_OF_A_USER).await;
    check_others_go_on(&server, (&api, &ann), sockets, &frame, ("presence", USERS), SHARE_OF_MANY).await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_while_one_user_asks_for_everybody() {
    const FOLLOWED: usize = 500;
    let (server, api, [ann, eve]) = served(["ann", "eve"]).await;
    let ids: Vec<_> = (1..=FOLLOWED).map(|id| id.to_string()).collect();
    let frame = json!({"type": "subscribe-presence", "id": "x".repeat(64), "data": {"userIds": ids}});
    let sockets = sockets_of(&server, &[eve], SOCKETS_OF_A_USER).await;
    check_others_go_on(&server, (&api, &ann), sockets, &frame, ("presence", FOLLOWED), OWN_SHARE).await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on_while_one_user_syncs_on_all_sockets() {
    let (server, api, [ann, eve]) = served(["ann", "eve"]).await;
    let mut talker = Talker::connect(&server, &ann).await;
    for _ in 0..200 {
        talker.say("world", &"x".repeat(1_000)).await;
    }
    let frame = json!({"type": "sync", "data": {"positions": {"world": 0}, "limit": 200}});
    let sockets = sockets_of(&server, &[eve], SOCKETS_OF_A_USER).await;
    check_others_go_on(&server, (&api, &ann), sockets, &frame, ("sync-result", 1), OWN_SHARE).await;
    assert!(server.stop().await.success());
}

/// Resident memory of a server, in MiB.
fn resident_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

/// Bytes of frames that wait for all sockets, as the metrics say.
async fn waiting_bytes(server: &Server) -> f64 {
    server.metric(r#"gochat_queue_length{queue="gateway-sockets-bytes"}"#).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_sync_and_read_nothing_take_little_memory_and_give_it_back() {
    const SOCKETS: usize = 3 * SOCKETS_OF_A_USER;
    /// Their pages are more than the system holds for a socket.
    const FRAMES: usize = 40;
    let (server, api, [ann, eve, mallory, oscar]) = served(["ann", "eve", "mallory", "oscar"]).await;
    let mut talker = Talker::connect(&server, &ann).await;
    let long = "x".repeat(8_000);
    // Within what may be said in the world in a burst.
    for _ in 0..150 {
        talker.say("world", &long).await;
    }
    let before = resident_mib(&server);
    let mut sockets = sockets_of(&server, &[eve, mallory, oscar], SOCKETS_OF_A_USER).await;
    let frame = json!({"type": "sync", "data": {"positions": {"world": 0}, "limit": 200}}).to_string();
    for socket in &mut sockets {
        for _ in 0..FRAMES {
            socket.send(Message::text(frame.clone())).await.unwrap();
        }
    }
    let mut most = before;
    let mut waiting: f64 = 0.0;
    let seen = look(&mut talker, &api, &ann).await;
    seen.show("while 96 sockets read nothing");
    let since = Instant::now();
    let mut looks = 0;
    while looks < 20 || (waiting == 0.0 && since.elapsed() < Duration::from_secs(20)) {
        looks += 1;
        talker.say("world", "hello").await;
        most = most.max(resident_mib(&server));
        waiting = waiting.max(waiting_bytes(&server).await);
    }
    println!("before {before} MiB, at most {most} MiB, {} KiB waited", waiting / 1_024.0);
    let bound = SOCKETS as u64 * 256 / 1_024;
    assert!(waiting > 0.0 && waiting <= (bound << 20) as f64, "{waiting} bytes");
    // Beside what waits, 8 calls of each user are under way, each with a page of 1.2 MB in the store.
    assert!(most <= before + 4 * bound, "{before} MiB rose to {most} MiB");
    // Who reads gets an answer to every frame: a page, or that the user's calls are too many. None says that it is all.
    let mut reader = sockets.pop().unwrap();
    let page = receive_type(&mut reader, "sync-result").await.unwrap();
    let last = page["messages"].as_array().unwrap().last().unwrap()["seqId"].clone();
    assert_eq!(page["hasMore"], Value::Bool(true), "up to {last}");
    drop(sockets);
    for _ in 1..FRAMES {
        assert_eq!(receive_type(&mut reader, "sync-result").await.unwrap()["recovered"], false);
    }
    talker.put("send-message", text("world", "and on")).await;
    timeout(Duration::from_secs(30), async {
        while waiting_bytes(&server).await != 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("what waited is given back");
    println!("afterwards {} MiB", resident_mib(&server));
    assert!(server.stop().await.success());
}
