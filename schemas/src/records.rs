//! The records on topics. Each struct has the fields of the newest version of its Avro schema; `tests/schemas` compares
//! both. Times are ms since 1970 UTC.

use serde::{Deserialize, Serialize};

use crate::ids::{ConversationId, GroupId, MessageId, Seq, UserId, decimal};
use crate::kind::Kind;

/// An admitted message of a client or the repo, without ids yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    pub conversation_id: ConversationId,
    pub sender_id: UserId,
    /// Idempotency key within (conversation, sender), 1..64 characters; empty for kinds that are
    /// idempotent by themselves.
    pub client_msg_id: Box<str>,
    pub kind: Kind,
    /// UTF-8 without NUL, up to 8,192 bytes from clients. JSON ([`GroupEvent`]) for group events.
    pub content: Box<str>,
    /// The message that an edit, recall or reaction changes; the last message that a read mark covers.
    #[serde(default)]
    pub target_seq: Option<Seq>,
    /// The reaction is removed.
    #[serde(default)]
    pub remove: bool,
}

/// A message with its ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequenced {
    /// Unique among all messages; 0 for kinds without a seq.
    pub message_id: MessageId,
    /// Position in the conversation; 0 for kinds without a seq.
    pub seq_id: Seq,
    /// How many messages of the conversation count as unread, up to and including this one.
    pub ordinal: i64,
    /// When it got its ids.
    pub created_at: i64,
    pub conversation_id: ConversationId,
    pub sender_id: UserId,
    pub client_msg_id: Box<str>,
    pub kind: Kind,
    pub content: Box<str>,
    #[serde(default)]
    pub target_seq: Option<Seq>,
    #[serde(default)]
    pub remove: bool,
}

/// One message for one gateway slot, with its recipients there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Of the slot's lease.
    pub epoch: i64,
    /// Empty: all users of the slot.
    pub recipients: Vec<UserId>,
    pub message: Sequenced,
}

/// One page of the fan-out of one message to a large group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTask {
    pub group_id: GroupId,
    pub page: i32,
    /// 0 until the first page is processed, then fixed for the message.
    pub pages: i32,
    pub message: Sequenced,
}

/// A user came to, or left, a gateway slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub user_id: UserId,
    pub slot: i32,
    /// Of the slot's lease.
    pub epoch: i64,
    pub online: bool,
    pub at: i64,
}

/// A gateway slot is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub slot: i32,
    /// Of the slot's lease.
    pub epoch: i64,
    pub at: i64,
}

/// The newest ids of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub conversation_id: ConversationId,
    pub seq_id: Seq,
    pub ordinal: i64,
    pub message_id: MessageId,
}

/// The keys that one batch added to the dedupe window of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupeWindow {
    /// 16 bytes a key, XXH3-128, big-endian.
    #[serde(with = "serde_bytes")]
    pub hashes: Vec<u8>,
    /// Log-append time of each key's record.
    pub times: Vec<i64>,
}

/// The id of a log. A store remembers the log that it was filled from, and refuses any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdentity {
    /// 32 hexadecimal digits, drawn at random.
    pub id: String,
}

/// The content of the kinds joined, left, removed, group-created, renamed and dissolved, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupEvent {
    #[serde(with = "decimal")]
    pub group_id: GroupId,
    /// The group's version after the change: each change raises it by one.
    pub version: i64,
    #[serde(with = "decimal")]
    pub actor_id: UserId,
    /// Who joined, left, was removed, or has another role.
    #[serde(with = "decimal::list", default, skip_serializing_if = "Vec::is_empty")]
    pub user_ids: Vec<UserId>,
    /// The group's name after the change, where the change set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new role of `user_ids`, where the change set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl Upstream {
    pub fn identified(self, message_id: MessageId, seq_id: Seq, ordinal: i64, created_at: i64) -> Sequenced {
        let Self { conversation_id, sender_id, client_msg_id, kind, content, target_seq, remove } = self;
        Sequenced {
            message_id,
            seq_id,
            ordinal,
            created_at,
            conversation_id,
            sender_id,
            client_msg_id,
            kind,
            content,
            target_seq,
            remove,
        }
    }
}
