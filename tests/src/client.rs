//! A chat client that follows the protocol to the letter: it sends again what was not acknowledged,
//! under the same clientMsgId, and closes gaps by `sync`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
pub use outside::socket::{Socket, connect, receive, receive_type, send};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, Seq};
use serde_json::{Value, json};
use stages::invariants::Synced;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::ledger::{Came, Ledger};
use outside::api::Account;

/// How long a client goes on trying to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(180);
/// Sends that wait for their acknowledgement at once.
const IN_FLIGHT_MAX: usize = 8;
/// After a refusal that can be retried nothing is sent for so long.
const HOLD_TIME: Duration = Duration::from_millis(250);

/// How much of what is sent and received gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// All of it.
    Sound,
    /// Every second message and acknowledgement is lost, in either direction; which one is random, or a
    /// message could be the unlucky one each time.
    DropsEverySecond,
}

impl Network {
    /// Without any acknowledgement for so long, what is under way is sent again.
    fn resend_after(self) -> Duration {
        match self {
            Self::Sound => Duration::from_secs(15),
            Self::DropsEverySecond => Duration::from_millis(300),
        }
    }
}

/// Whether a client sends.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Yes; what is under way is sent again at this time.
    Sending { again: Instant },
    /// Not before this time: it was refused.
    Holding { until: Instant },
}

/// The pause before a sync that was refused is tried again.
const SYNC_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Something to be said.
#[derive(Debug, Clone)]
pub struct Say {
    /// The idempotency key.
    pub client_msg_id: String,
    pub conversation: ConversationId,
    pub content: String,
    /// Whether the frame is sent twice.
    pub twice: bool,
}

/// A client at work in a task of its own.
pub struct Client {
    /// What it sent, was told and saw.
    pub ledger: Arc<Mutex<Ledger>>,
    /// Raised whenever the ledger has news.
    pub news: watch::Receiver<u64>,
    say: mpsc::UnboundedSender<Say>,
    task: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Connects to one of these gateways and stays connected until it is stopped; where one does not
    /// answer, the next one is tried.
    pub fn start(number: u64, at: Vec<SocketAddr>, account: &Account) -> Self {
        Self::start_on(Network::Sound, number, at, account)
    }

    /// The same on this network.
    pub fn start_on(network: Network, number: u64, at: Vec<SocketAddr>, account: &Account) -> Self {
        let user = account.user_id.parse().expect("a user id");
        let ledger = Arc::new(Mutex::new(Ledger::new(number, user)));
        let (tell, news) = watch::channel(0);
        let (say, to_say) = mpsc::unbounded_channel();
        let life = Life {
            at,
            token: account.token.clone(),
            ledger: ledger.clone(),
            tell,
            to_say,
            unacked: VecDeque::new(),
            sent: 0,
            syncing: HashMap::new(),
            network,
            luck: StdRng::seed_from_u64(number),
            pace: Pace::Sending { again: Instant::now() },
        };
        Self { ledger, news, say, task: tokio::spawn(life.live()) }
    }

    /// Says something, now or once it can.
    pub fn say(&self, say: Say) {
        self.say.send(say).expect("the client lives");
    }

    /// Waits until the ledger is as wanted, at most `time`.
    pub async fn until(&mut self, time: Duration, wanted: impl Fn(&Ledger) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + time;
        loop {
            if wanted(&*self.ledger.lock().await) {
                return Ok(());
            }
            let changed = tokio::time::timeout_at(deadline, self.news.changed()).await;
            changed.map_err(|_| format!("not within {time:?}"))?.map_err(|_| "the client ended")?;
        }
    }

    /// Closes the socket and ends.
    pub fn stop(self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }

    /// Closes the socket; the ledger stays.
    pub fn leave(&self) {
        self.task.abort();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The state of a client.
struct Life {
    at: Vec<SocketAddr>,
    token: String,
    ledger: Arc<Mutex<Ledger>>,
    tell: watch::Sender<u64>,
    to_say: mpsc::UnboundedReceiver<Say>,
    /// What was not acknowledged yet, in order; the first `sent` of it are on their way.
    unacked: VecDeque<Say>,
    sent: usize,
    /// Conversations that a sync was asked for: from where, and how far they were known to reach.
    syncing: HashMap<ConversationId, (Seq, Seq)>,
    network: Network,
    luck: StdRng,
    pace: Pace,
}

impl Life {
    async fn live(mut self) {
        loop {
            let mut socket = self.connect().await;
            let mut ledger = self.ledger.lock().await;
            (ledger.connections, ledger.online) = (ledger.connections + 1, true);
            drop(ledger);
            self.tell.send_modify(|n| *n += 1);
            self.sent = 0;
            self.syncing.clear();
            self.progress();
            // The socket broke: connect again.
            let _ = self.converse(&mut socket).await;
            self.ledger.lock().await.online = false;
        }
    }

    async fn connect(&mut self) -> Socket {
        let deadline = Instant::now() + CONNECT_TIME_MAX;
        loop {
            self.at.rotate_left(1);
            match connect(self.at[0], &self.token).await {
                Ok(socket) => return socket,
                Err(e) => assert!(Instant::now() < deadline, "no connection for {CONNECT_TIME_MAX:?}: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn converse(&mut self, socket: &mut Socket) -> Result<(), String> {
        let seen = self.ledger.lock().await.conversations();
        for conversation in seen {
            self.sync(socket, conversation).await?;
        }
        loop {
            self.send_what_may_go(socket).await?;
            let (Pace::Sending { again: timer } | Pace::Holding { until: timer }) = self.pace;
            tokio::select! {
                () = tokio::time::sleep_until(timer), if !self.unacked.is_empty() => {
                    self.sent = 0;
                    self.progress();
                }
                say = self.to_say.recv() => self.unacked.push_back(say.ok_or("nobody speaks any more")?),
                frame = socket.next() => match frame.ok_or("ended")?.map_err(|e| e.to_string())? {
                    Message::Text(text) => {
                        let frame: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
                        self.take(socket, &frame).await?;
                    }
                    Message::Close(_) => return Err("closed".into()),
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                },
            }
        }
    }

    async fn send_what_may_go(&mut self, socket: &mut Socket) -> Result<(), String> {
        while let Pace::Sending { .. } = self.pace
            && self.sent < self.unacked.len().min(IN_FLIGHT_MAX)
        {
            let frame = frame(&self.unacked[self.sent]);
            for _ in 0..if self.unacked[self.sent].twice { 2 } else { 1 } {
                if self.gets_through().await {
                    send(socket, &frame).await?;
                }
            }
            self.sent += 1;
            self.progress();
        }
        Ok(())
    }

    fn progress(&mut self) {
        self.pace = Pace::Sending { again: Instant::now() + self.network.resend_after() };
    }

    /// Whether the network takes a message; every second one is lost on a bad one.
    async fn gets_through(&mut self) -> bool {
        match self.network {
            Network::Sound => true,
            Network::DropsEverySecond => {
                let passes = self.luck.random_bool(0.5);
                self.ledger.lock().await.dropped += u64::from(!passes);
                passes
            }
        }
    }

    async fn take(&mut self, socket: &mut Socket, frame: &Value) -> Result<(), String> {
        let data = &frame["data"];
        let kind = frame["type"].as_str().unwrap_or_default();
        if matches!(kind, "message-ack" | "message-stored" | "message") && !self.gets_through().await {
            return Ok(());
        }
        match kind {
            "message-ack" => self.acked(data).await,
            "message-stored" | "message" => self.message(socket, frame).await?,
            "sync-result" => self.synced(socket, data).await?,
            "heads" => {
                for (conversation, head) in data["heads"].as_object().into_iter().flatten() {
                    let (conversation, head) = (parsed(conversation), Seq(head.as_i64().expect("a seq")));
                    let mut ledger = self.ledger.lock().await;
                    ledger.hear_of(conversation, head);
                    if head > ledger.position(conversation) {
                        drop(ledger);
                        self.sync(socket, conversation).await?;
                    }
                }
            }
            "error" => self.refused(data).await,
            _ => {}
        }
        self.tell.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn acked(&mut self, data: &Value) {
        let id = data["clientMsgId"].as_str().unwrap_or_default();
        self.done(id);
        if let Pace::Sending { .. } = self.pace {
            self.progress();
        }
        self.ledger.lock().await.acked.insert(id.to_owned());
    }

    /// A refusal that can be retried is tried again; another one is the test's to judge.
    async fn refused(&mut self, data: &Value) {
        if data["retryable"] == true {
            self.pace = Pace::Holding { until: Instant::now() + HOLD_TIME };
            self.ledger.lock().await.held_off += 1;
            return;
        }
        self.done(data["clientMsgId"].as_str().unwrap_or_default());
        self.ledger.lock().await.errors.push(data.clone());
    }

    fn done(&mut self, client_msg_id: &str) {
        if let Some(at) = self.unacked.iter().position(|say| say.client_msg_id == client_msg_id) {
            self.unacked.remove(at);
            self.sent -= usize::from(at < self.sent);
        }
    }

    async fn message(&mut self, socket: &mut Socket, frame: &Value) -> Result<(), String> {
        let came = self.ledger.lock().await.note(&frame["data"]);
        match came {
            Came::Gap => self.sync(socket, parsed(frame["data"]["conversationId"].as_str().expect("where"))).await,
            Came::Next | Came::Repeat => Ok(()),
        }
    }

    async fn synced(&mut self, socket: &mut Socket, data: &Value) -> Result<(), String> {
        let conversation = parsed(data["conversationId"].as_str().expect("where"));
        let (after, last) = self.syncing.remove(&conversation).ok_or("nobody asked for this")?;
        let messages = data["messages"].as_array().ok_or("a sync-result without messages")?;
        let recovered = data["recovered"] == true;
        let mut ledger = self.ledger.lock().await;
        let seqs = messages.iter().map(|message| Seq(message["seqId"].as_i64().expect("a seq"))).collect();
        let client = ledger.client;
        ledger.synced.push(Synced { client, conversation, after, last, seqs, recovered });
        for message in messages {
            ledger.note(message);
        }
        let behind = ledger.position(conversation) < ledger.known_end(conversation);
        drop(ledger);
        if !recovered && messages.is_empty() {
            tokio::time::sleep(SYNC_AGAIN_AFTER).await;
        }
        if !recovered || behind {
            self.sync(socket, conversation).await?;
        }
        Ok(())
    }

    async fn sync(&mut self, socket: &mut Socket, conversation: ConversationId) -> Result<(), String> {
        if self.syncing.contains_key(&conversation) {
            return Ok(());
        }
        let ledger = self.ledger.lock().await;
        let (position, known) = (ledger.position(conversation), ledger.known_end(conversation));
        drop(ledger);
        self.syncing.insert(conversation, (position, known));
        let positions = json!({(conversation.to_string()): position.0});
        send(socket, &json!({"type": "sync", "data": {"positions": positions, "limit": 200}})).await
    }
}

fn parsed(conversation: &str) -> ConversationId {
    conversation.parse().expect("a conversation id")
}

fn frame(say: &Say) -> Value {
    json!({"type": "send-message", "data": {
        "clientMsgId": say.client_msg_id,
        "conversationId": say.conversation.to_string(),
        "messageType": "text",
        "content": say.content,
    }})
}
