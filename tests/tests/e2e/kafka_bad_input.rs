//! A Kafka that is away, or is not what it should be: a process waits where that helps, and otherwise ends
//! with one line that says what to do.

use std::net::TcpListener;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::broker::{Broker, shared};
use tests::client::{Socket, connect, send};
use tests::foreign::kafka_tool;
use tests::installation::{Installation, Settings};
use tests::server::{Refused, Server};
use tests::users::{registered, text, with};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

/// The longest wait for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
const BUSY: u64 = 1008;
/// How often a client that was told `Busy` sends again.
const SEND_AGAIN_EVERY: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_ends_the_start_with_what_to_do() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let installation = Installation::new(Settings { connect_seconds: 8, ..Settings::on(&brokers) });
    let started = Instant::now();
    let mut starting = installation.starting();
    let line = starting.says("no Kafka broker answers yet").await;
    assert_eq!((&line["brokers"], &line["seconds_max"]), (&json!(brokers), &json!(8)), "{line}");
    assert!(line["cause"].as_str().unwrap().contains("Connection refused"), "{line}");
    let Refused { code, said } = starting.ended().await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(8) && waited < Duration::from_secs(20), "it ended after {waited:?}");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one clear line: {said}");
    for words in [&*brokers, "within 8 s", "start-infra.sh", "log.kafka.brokers"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// A user with a socket, and whom they talk to.
struct Speaker {
    account: Account,
    socket: Socket,
    conversation: String,
}

impl Speaker {
    async fn join(server: &Server) -> Self {
        let api = Api::new(server.http);
        let [account, other] = registered(&api, ["ann", "bob"]).await;
        let socket = connect(server.http, &account.token).await.unwrap();
        Self { conversation: account.pair_with(&other), account, socket }
    }

    async fn send(&mut self, id: &str) {
        let data = with(text(&self.conversation, id), json!({"clientMsgId": id}));
        send(&mut self.socket, &json!({"type": "send-message", "data": data})).await.unwrap();
    }

    /// Sends it and waits until it is stored; its seq.
    async fn say(&mut self, id: &str) -> i64 {
        self.send(id).await;
        self.stored(id).await
    }

    /// The seq that it is stored with. What was delivered before may come again.
    async fn stored(&mut self, id: &str) -> i64 {
        loop {
            let stored = self.answer(&["message-stored"]).await["data"].clone();
            if stored["clientMsgId"] == id {
                return stored["seqId"].as_i64().unwrap();
            }
        }
    }

    /// The next frame of one of these types, however long a broker's absence makes it take.
    async fn answer(&mut self, types: &[&str]) -> Value {
        let answer = async {
            loop {
                let frame = self.socket.next().await.expect("the socket stays open").unwrap();
                let Message::Text(text) = frame else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if types.iter().any(|kind| frame["type"] == *kind) {
                    return frame;
                }
            }
        };
        timeout(WAIT_MAX, answer).await.unwrap_or_else(|_| panic!("none of {types:?} comes"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_may_come_late_and_go_and_come_back() {
    let broker = Broker::that_is_away();
    let installation = Installation::new(Settings::on(broker.address()));
    let mut starting = installation.starting();
    starting.says("no Kafka broker answers yet").await;
    broker.start_again().await;
    let server = starting.ready().await.unwrap();
    let mut ann = Speaker::join(&server).await;
    assert_eq!(ann.say("before").await, 1);

    broker.kill().await;
    ann.send("meanwhile").await;
    let refused = ann.answer(&["error", "message-ack"]).await["data"].clone();
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!(BUSY), &json!(true)), "{refused}");
    assert_eq!(refused["clientMsgId"], "meanwhile");
    let history = format!("/api/conversations/{}/messages", ann.conversation);
    let (status, _) = Api::new(server.http).call(Method::GET, &history, Some(&ann.account.token), None).await;
    assert!(status.is_success(), "what is stored can be read meanwhile");

    broker.start_again().await;
    let back = Instant::now();
    loop {
        ann.send("meanwhile").await;
        if ann.answer(&["error", "message-ack"]).await["type"] == "message-ack" {
            break;
        }
        assert!(back.elapsed() < WAIT_MAX, "it never takes messages again");
        tokio::time::sleep(SEND_AGAIN_EVERY).await;
    }
    println!("messages are taken {:.1?} after the broker is back", back.elapsed());
    assert_eq!(ann.stored("meanwhile").await, 2);
    println!("and delivered {:.1?} after it", back.elapsed());
    assert_eq!(ann.say("after").await, 3, "however often it was sent, it is there once");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_with_another_number_of_partitions_are_refused_and_left_alone() {
    let settings = Settings::on(shared());
    let installation = Installation::new(settings.clone());
    let server = installation.starting().ready().await.unwrap();
    assert!(server.stop().await.success());
    installation.set(Settings { chain_partitions: 6, ..settings });
    let Refused { code, said } = installation.starting().ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("upstream-messages") && said.contains("it has 4 partitions, not 6"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one clear line: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_are_gone_or_set_back_make_nothing_twice() {
    // So short that the window does not know the old lines any more.
    let settings = Settings { dedupe_window_seconds: 1, ..Settings::on(shared()) };
    let installation = Installation::new(settings.clone());
    let server = installation.starting().ready().await.unwrap();
    let mut ann = Speaker::join(&server).await;
    for seq in 1..=5 {
        assert_eq!(ann.say(&format!("line {seq}")).await, seq);
    }
    assert!(server.stop().await.success());

    let group = format!("{}dedupe", settings.prefix);
    let of_group = ["--bootstrap-server", &settings.brokers, "--group", &group];
    let topic = format!("{}upstream-messages", settings.prefix);
    let to_the_start = ["--topic", &topic, "--reset-offsets", "--to-earliest", "--execute"];
    for (seq, lost) in [(6, &["--delete"][..]), (7, &to_the_start)] {
        kafka_tool("consumer-groups", &[&of_group[..], lost].concat()).await;
        let server = installation.starting().ready().await.unwrap();
        ann.socket = connect(server.http, &ann.account.token).await.unwrap();
        assert_eq!(ann.say(&format!("line {seq}")).await, seq, "no seq is given twice, and none to an old line");
        assert!(server.stop().await.success());
    }
}
