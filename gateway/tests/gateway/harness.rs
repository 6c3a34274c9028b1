//! A running gateway, and clients of it.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use gateway::{
    GatewayConfig, GatewayError, GatewayParts, Operations, OtherGateways, PresenceChange, Readiness, SlotLease, serve,
};
use listener::Listener;
use schemas::avro::Record;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::{Delivery, Sequenced, Upstream};
use schemas::token::{Claims, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use topics::backlog::{Backlog, LagWatch};
use topics::catalogue::{DELIVERIES, Layout, SEQUENCED, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::{Headers, Origin};
use topics::log::{Incoming, Log, StartAt};

use crate::log::GatedLog;
use crate::repo::{self, FakeRepo};

/// Longer than anything here takes.
pub const BOUND: Duration = Duration::from_secs(10);
pub const NOW: i64 = 1_800_000_000_000;
pub const SLOT: u32 = 3;
pub const EPOCH: i64 = 77;
const LAG_OF: [LagWatch; 2] =
    [LagWatch { group: "dedupe", topic: &UPSTREAM.spec }, LagWatch { group: "persist", topic: &SEQUENCED.spec }];
const LAYOUT: Layout = Layout { chain_partitions: 4, gateway_slots: 8 };

pub struct Gateway {
    pub address: String,
    pub log: Arc<GatedLog>,
    pub repo: Arc<FakeRepo>,
    pub key: SigningKey,
    pub lease_lost: CancellationToken,
    /// Who is connected to other gateways.
    pub elsewhere: Arc<Mutex<HashSet<UserId>>>,
    pub changes: broadcast::Sender<PresenceChange>,
    pub clock: Clock,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), GatewayError>>,
}

/// What the process says of itself.
pub const HEALTH: &str = "{\"component\":\"log\",\"ready\":false}\n";

pub async fn gateway() -> Gateway {
    gateway_with(GatewayConfig::default()).await
}

/// A gateway, and a client of user 1.
pub async fn connected() -> (Gateway, Client) {
    let gateway = gateway().await;
    let client = gateway.connect(1).await;
    (gateway, client)
}

pub async fn gateway_with(config: GatewayConfig) -> Gateway {
    let clock = Clock::manual(NOW);
    let log = Arc::new(GatedLog::new(LAYOUT, clock.clone()));
    let repo = Arc::new(FakeRepo::default());
    let key = SigningKey::generate().unwrap();
    let (lease_lost, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let backlog = Arc::new(Backlog::new(config.backlog()));
    let elsewhere = Arc::new(Mutex::new(HashSet::new()));
    let (changes, of_others) = broadcast::channel(8);
    let known = elsewhere.clone();
    let listener = Listener::new(listener, "gateway", config.connections());
    let (watched, stopped) = (log.clone(), shutdown.clone());
    let parts = GatewayParts {
        config,
        resend_window: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(10),
        log: log.clone(),
        repo: repo::start(repo.clone()).await,
        verifying_key: key.verifying_key(),
        slot: SlotLease { slot: SLOT, epoch: EPOCH, lost: lease_lost.clone() },
        others: OtherGateways {
            is_online: Arc::new(move |user| known.lock().unwrap().contains(&user)),
            changes: of_others,
        },
        clock: clock.clone(),
        backlog: backlog.clone(),
        operations: Operations {
            render_metrics: Arc::new(|| "gochat_up 1\n".into()),
            health: Arc::new(|| Readiness { ready: false, lines: HEALTH.into() }),
        },
    };
    let serving = tokio::spawn(serve(parts, listener, shutdown.clone()));
    tokio::spawn(async move { backlog.watch(watched, &LAG_OF, stopped.cancelled_owned()).await });
    Gateway { address, log, repo, key, lease_lost, elsewhere, changes, clock, shutdown, serving }
}

impl Gateway {
    pub fn token(&self, user: i64) -> String {
        self.token_of(user, user * 10)
    }

    pub fn token_of(&self, user: i64, session_id: i64) -> String {
        self.key.sign(&Claims { user_id: UserId(user), session_id, expires_at: NOW + 900_000 })
    }

    /// A client that has got its `hello`.
    pub async fn connect(&self, user: i64) -> Client {
        let mut client = self.open(&format!("/ws?token={}&device=test", self.token(user))).await;
        let hello = client.frame().await;
        assert_eq!(hello["type"], "hello", "{hello}");
        client
    }

    pub async fn open(&self, path: &str) -> Client {
        let request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        let (stream, _) = within(connect_async(request)).await.unwrap();
        Client { stream }
    }

    pub async fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> (u16, Value) {
        let client = reqwest::Client::new();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = within(request.send()).await.unwrap();
        let status = response.status().as_u16();
        let text = within(response.text()).await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A user comes to another gateway, or leaves it.
    pub fn elsewhere(&self, user: i64, online: bool) {
        let user = UserId(user);
        let mut elsewhere = self.elsewhere.lock().unwrap();
        if online {
            elsewhere.insert(user)
        } else {
            elsewhere.remove(&user)
        };
        drop(elsewhere);
        self.changes.send(PresenceChange::User(user)).unwrap();
    }

    /// Puts a message on the gateway's slot.
    pub async fn deliver(&self, epoch: i64, recipients: &[i64], messages: &[Sequenced], origin: Option<Origin>) {
        let mut encoder = Encoder::default();
        for message in messages {
            let recipients = recipients.iter().map(|&user| UserId(user)).collect();
            let delivery = Delivery { epoch, recipients, message: message.clone() };
            let headers = Headers { origin, ..Headers::default() };
            encoder.put_at(&DELIVERIES, SLOT, &message.conversation_id, &delivery, headers).unwrap();
        }
        self.log.append(encoder.finish()).await.unwrap();
    }

    /// Waits until a message is on its way into the log.
    pub async fn is_appending(&self) {
        within(async {
            while self.log.upstream_appends.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The repo has these messages, too.
    pub fn store(&self, messages: impl IntoIterator<Item = pb::Message>) {
        self.repo.messages.lock().unwrap().extend(messages);
    }

    /// Everything on `upstream-messages` so far, at least `count` records.
    pub async fn upstream(&self, count: usize) -> Vec<(Upstream, Headers)> {
        let records = self.records(&UPSTREAM.spec, LAYOUT.chain_partitions, count).await;
        records.into_iter().map(|one| (Upstream::decode(&one.value).unwrap(), one.headers)).collect()
    }

    pub async fn records(&self, topic: &'static TopicSpec, partitions: u32, count: usize) -> Vec<Incoming> {
        let from: Vec<_> = (0..partitions).map(|partition| (partition, StartAt::Earliest)).collect();
        let mut reader = self.log.read(topic, &from).await.unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            let batch =
                reader.next_within(BOUND).await.unwrap().unwrap_or_else(|| panic!("{} of {count}", records.len()));
            records.extend(batch.records);
        }
        records
    }
}

pub struct Client {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        within(self.stream.send(Message::text(text))).await.unwrap();
    }

    pub async fn say(&mut self, conversation: &str, key: &str) {
        self.send(say(conversation, key, "hello")).await;
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Value {
        loop {
            match within(self.stream.next()).await.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a frame was expected, not {other:?}"),
            }
        }
    }

    /// The next frame of this type.
    pub async fn frame_of(&mut self, name: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["type"] == name {
                return frame;
            }
        }
    }

    /// Reads until the socket is closed; the close code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match within(self.stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        }
    }

    /// Sees that nothing else came until the answer to a ping.
    pub async fn nothing_came(&mut self) {
        self.send(json!({"type": "ping", "id": "fence"})).await;
        let frame = self.frame().await;
        assert_eq!((&frame["type"], &frame["id"]), (&json!("pong"), &json!("fence")), "{frame}");
    }
}

pub fn say(conversation: &str, key: &str, content: &str) -> Value {
    json!({"type": "send-message", "id": format!("id-{key}"), "data": {
        "clientMsgId": key, "conversationId": conversation, "messageType": "text", "content": content}})
}

pub fn message(conversation: ConversationId, sender: i64, seq: i64, content: &str) -> Sequenced {
    Sequenced {
        message_id: MessageId(9_007_199_254_740_993 + seq),
        seq_id: Seq(seq),
        ordinal: seq,
        created_at: NOW + seq,
        conversation_id: conversation,
        sender_id: UserId(sender),
        client_msg_id: format!("key-{seq}").into(),
        kind: Kind::Text,
        content: content.into(),
        target_seq: None,
        remove: false,
    }
}

/// A text of group 5, as the repo has it.
pub fn stored(seq_id: i64, sender_id: i64) -> pb::Message {
    pb::Message { conversation_id: "group_5".into(), seq_id, sender_id, kind: "text".into(), ..Default::default() }
}

pub fn single(low: i64, high: i64) -> ConversationId {
    ConversationId::single(UserId(low), UserId(high))
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("within the bound")
}
