//! What one client sent, was told and saw: the evidence that the checkers judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// Identity of a message as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Position in its conversation.
    pub seq: i64,
    /// Message id.
    pub message_id: String,
    /// The sender's key.
    pub client_msg_id: String,
}

/// The record of one client, over all its connections.
#[derive(Debug, Default)]
pub struct Ledger {
    /// clientMsgIds that were acknowledged.
    pub acked: BTreeSet<String>,
    /// Identities that `message-stored` told, by clientMsgId.
    pub stored: BTreeMap<String, Identity>,
    /// What the client showed its user, in order, by conversation.
    pub seen: HashMap<String, Vec<Identity>>,
    /// Identities of repeats that differed from what was seen first.
    pub contradictions: Vec<String>,
    /// Errors the server sent.
    pub errors: Vec<Value>,
    /// How often the client connected.
    pub connections: u64,
    /// Answers of `sync` that claimed to be whole but were not.
    pub not_whole: Vec<String>,
}

/// What to do with a message that came, by the rule of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// It was the next.
    Next,
    /// It was there before.
    Repeat,
    /// Something before it is missing.
    Gap,
}

impl Ledger {
    /// The newest seq seen in a conversation.
    pub fn position(&self, conversation: &str) -> i64 {
        self.seen.get(conversation).map_or(0, |seen| seen.len() as i64)
    }

    /// Notes a message: at or below the newest is a repeat, one above is next, further is a gap.
    pub fn note(&mut self, message: &Value) -> Came {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let (conversation, seq) = (text("conversationId"), message["seqId"].as_i64().expect("a seq"));
        let identity = Identity { seq, message_id: text("messageId"), client_msg_id: text("clientMsgId") };
        let seen = self.seen.entry(conversation.clone()).or_default();
        let newest = seen.len() as i64;
        if seq > newest + 1 {
            return Came::Gap;
        }
        if seq == newest + 1 {
            seen.push(identity);
            return Came::Next;
        }
        let first = &seen[usize::try_from(seq - 1).expect("seqs start at 1")];
        if *first != identity {
            self.contradictions.push(format!("{conversation}: {first:?}, then {identity:?}"));
        }
        Came::Repeat
    }
}
