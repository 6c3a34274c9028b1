//! What one client sent, was told and saw: the evidence that the checkers of the invariants judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use serde_json::Value;
use stages::invariants::{Held, Key, Seen, Synced};
use topics::clock::Clock;

/// The record of one client, over all its connections.
#[derive(Debug)]
pub struct Ledger {
    /// The client's number in the test.
    pub client: u64,
    /// Whose it is.
    pub user: UserId,
    /// clientMsgIds that were acknowledged.
    pub acked: BTreeSet<String>,
    /// Messages as `message-stored` told of them, and as they were first seen.
    pub told: Vec<Held>,
    /// What the client showed its user, in order.
    pub seen: Vec<Seen>,
    /// Answers to `sync`.
    pub synced: Vec<Synced>,
    /// Errors the server sent.
    pub errors: Vec<Value>,
    /// How often it was asked to try again later.
    pub held_off: u64,
    /// Messages and acknowledgements that its network lost.
    pub dropped: u64,
    /// How often the client connected.
    pub connections: u64,
    /// Whether it is connected now.
    pub online: bool,
    newest: HashMap<ConversationId, Seq>,
    heard_of: BTreeMap<ConversationId, Seq>,
}

/// What to do with a message that came, by the rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was the next.
    Next,
    /// It was there before.
    Repeat,
    /// Something before it is missing.
    Gap,
}

impl Ledger {
    pub fn new(client: u64, user: UserId) -> Self {
        Self {
            client,
            user,
            acked: BTreeSet::new(),
            told: Vec::new(),
            seen: Vec::new(),
            synced: Vec::new(),
            errors: Vec::new(),
            held_off: 0,
            dropped: 0,
            connections: 0,
            online: false,
            newest: HashMap::new(),
            heard_of: BTreeMap::new(),
        }
    }

    /// Conversations of which something was seen.
    pub fn conversations(&self) -> Vec<ConversationId> {
        self.newest.keys().copied().collect()
    }

    /// The newest seq seen in a conversation.
    pub fn position(&self, conversation: ConversationId) -> Seq {
        self.newest.get(&conversation).copied().unwrap_or_default()
    }

    /// The newest seq that the client knows to exist.
    pub fn known_end(&self, conversation: ConversationId) -> Seq {
        self.heard_of.get(&conversation).copied().unwrap_or_default()
    }

    /// Notes that a seq exists.
    pub fn hear_of(&mut self, conversation: ConversationId, seq: Seq) {
        let known = self.heard_of.entry(conversation).or_default();
        *known = seq.max(*known);
    }

    /// Notes a message: at or below the newest is a repeat, one above is next, further is a gap.
    pub fn note(&mut self, message: &Value) -> Came {
        let held = held(message, self.user);
        let (conversation, seq) = (held.key.conversation, held.seq);
        self.hear_of(conversation, seq);
        self.told.push(held);
        let newest = self.newest.entry(conversation).or_default();
        if seq.0 > newest.0 + 1 {
            return Came::Gap;
        }
        if seq <= *newest {
            return Came::Repeat;
        }
        *newest = seq;
        self.seen.push(Seen { client: self.client, conversation, seq, time_ms: Clock::system().now_ms() });
        Came::Next
    }
}

/// A message of a frame or of the history. `message-stored` leaves its sender out: it is the client's own.
pub fn held(message: &Value, own: UserId) -> Held {
    let text = |name: &str| message[name].as_str();
    let message_id = MessageId(text("messageId").and_then(|id| id.parse().ok()).expect("a message id"));
    Held {
        key: Key {
            conversation: text("conversationId").and_then(|id| id.parse().ok()).expect("a conversation"),
            sender: text("senderId").map_or(own, |id| id.parse().expect("a user id")),
            client_msg_id: text("clientMsgId").expect("a clientMsgId").into(),
        },
        seq: Seq(message["seqId"].as_i64().expect("a seq")),
        message_id,
        time_ms: schemas::snowflake::time_of(message_id.0),
    }
}
