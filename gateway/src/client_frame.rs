//! The frames that clients send: `{"type": …, "id": …, "data": …}`, one JSON text each.

use std::collections::BTreeMap;
use std::fmt;

use schemas::admission::Intent;
use schemas::error::Refusal;
use schemas::ids::{UserId, decimal};
use schemas::time::parse_rfc3339;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::json::{self, Object};

/// Characters of a frame's `id`.
pub const ID_CHARS_MAX: usize = 64;
/// Characters of the sentence about a frame that could not be read: it may quote the frame.
const SENTENCE_CHARS_MAX: usize = 256;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Is appended to the log.
    Chain {
        /// The idempotency key; empty for read marks.
        client_msg_id: String,
        conversation_id: String,
        intent: Intent,
        /// The first attempt, ms since 1970 UTC.
        sent_at_ms: Option<i64>,
    },
    Typing {
        conversation_id: String,
    },
    /// Asks for missed messages.
    Sync {
        /// Conversation → last seq seen.
        positions: BTreeMap<String, i64>,
        /// Messages a conversation.
        limit: Option<i32>,
    },
    /// Follows the presence of these users, in place of those before.
    SubscribePresence {
        user_ids: Vec<UserId>,
    },
    Ping,
}

/// A frame that could not be read, with its ids as far as they could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub refusal: Refusal,
    pub id: Option<String>,
    pub client_msg_id: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    name: String,
    id: Option<String>,
    data: Option<Object<Data>>,
}

/// The fields of all frames. The type decides which of them are required.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Data {
    client_msg_id: Option<String>,
    conversation_id: Option<String>,
    message_type: Option<String>,
    content: Option<String>,
    sent_at: Option<String>,
    target_seq_id: Option<i64>,
    emoji: Option<String>,
    remove: Option<bool>,
    seq_id: Option<i64>,
    #[serde(deserialize_with = "positions")]
    positions: Option<BTreeMap<String, i64>>,
    limit: Option<i32>,
    user_ids: Option<Ids>,
}

#[derive(Deserialize)]
struct Ids(#[serde(with = "decimal::list")] Vec<UserId>);

/// Reads the positions of a `sync`, and refuses a conversation that is there twice.
fn positions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, i64>>, D::Error> {
    struct Positions;
    impl<'de> Visitor<'de> for Positions {
        type Value = BTreeMap<String, i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of conversation and seqId")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut positions = BTreeMap::new();
            while let Some((conversation, seq)) = entries.next_entry::<String, i64>()? {
                if positions.insert(conversation, seq).is_some() {
                    return Err(de::Error::custom("a conversation is there twice"));
                }
            }
            Ok(positions)
        }
    }
    deserializer.deserialize_map(Positions).map(Some)
}

impl ClientFrame {
    /// Reads a frame and its id.
    ///
    /// # Errors
    /// [`Rejected`] with [`schemas::error::ErrorCode::InvalidInput`].
    pub fn parse(text: &str) -> Result<(Self, Option<String>), Rejected> {
        let envelope: Envelope = json::from_slice(text.as_bytes()).map_err(|e| Rejected::unreadable(text, &e))?;
        let data = envelope.data.unwrap_or_default().0;
        let client_msg_id = data.client_msg_id.clone();
        if envelope.id.as_deref().is_some_and(|id| !is_short(id)) {
            let refusal = Refusal::invalid(format!("id has at most {ID_CHARS_MAX} characters"));
            return Err(Rejected { refusal, id: None, client_msg_id });
        }
        match frame_of(&envelope.name, data) {
            Ok(frame) => Ok((frame, envelope.id)),
            Err(refusal) => Err(Rejected { refusal, id: envelope.id, client_msg_id }),
        }
    }
}

impl ClientFrame {
    /// How many frames it counts as, for what it makes.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Sync { positions, .. } => positions.len().max(1),
            Self::SubscribePresence { user_ids } => user_ids.len().max(1),
            // That of typing shows when the members are known.
            Self::Chain { .. } | Self::Typing { .. } | Self::Ping => 1,
        }
    }
}

/// Whether an id may be repeated in an answer.
fn is_short(id: &str) -> bool {
    id.chars().nth(ID_CHARS_MAX).is_none()
}

impl Rejected {
    /// Finds the ids that the answer repeats in a frame that could not be read.
    fn unreadable(text: &str, error: &serde_json::Error) -> Self {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let text_at = |pointer: &str| value.pointer(pointer).and_then(|text| text.as_str()).map(str::to_owned);
        let what = if value.is_null() { "the frame is not JSON" } else { "the frame has not the form of its type" };
        let sentence = format!("{what}: {error}");
        Self {
            refusal: Refusal::invalid(sentence.chars().take(SENTENCE_CHARS_MAX).collect::<String>()),
            id: text_at("/id").filter(|id| is_short(id)),
            client_msg_id: text_at("/data/clientMsgId"),
        }
    }
}

fn frame_of(name: &str, data: Data) -> Result<ClientFrame, Refusal> {
    fn required<T>(field: &str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| Refusal::invalid(format!("{field} is missing")))
    }
    let chain = |client_msg_id, conversation_id, intent, sent_at: Option<String>| {
        let ms = |text: String| parse_rfc3339(&text).ok_or_else(|| Refusal::invalid("sentAt is not an RFC 3339 time"));
        let sent_at_ms = sent_at.map(ms).transpose()?;
        let conversation_id = required("conversationId", conversation_id)?;
        Ok(ClientFrame::Chain { client_msg_id, conversation_id, intent, sent_at_ms })
    };
    let key = || required("clientMsgId", data.client_msg_id.clone());
    let target = || required("targetSeqId", data.target_seq_id);
    match name {
        "send-message" => {
            let message_type = required("messageType", data.message_type)?;
            let content = required("content", data.content)?;
            let key = required("clientMsgId", data.client_msg_id)?;
            chain(key, data.conversation_id, Intent::Say { message_type, content }, data.sent_at)
        }
        "edit-message" => {
            let intent = Intent::Edit { target: target()?, content: required("content", data.content)? };
            chain(required("clientMsgId", data.client_msg_id)?, data.conversation_id, intent, data.sent_at)
        }
        "recall-message" => chain(key()?, data.conversation_id, Intent::Recall { target: target()? }, data.sent_at),
        "react" => {
            let remove = data.remove.unwrap_or(false);
            let intent = Intent::React { target: target()?, emoji: required("emoji", data.emoji)?, remove };
            chain(required("clientMsgId", data.client_msg_id)?, data.conversation_id, intent, data.sent_at)
        }
        "mark-read" => {
            let intent = Intent::MarkRead { seq: required("seqId", data.seq_id)? };
            chain(String::new(), data.conversation_id, intent, None)
        }
        "typing" => Ok(ClientFrame::Typing { conversation_id: required("conversationId", data.conversation_id)? }),
        "sync" => Ok(ClientFrame::Sync { positions: required("positions", data.positions)?, limit: data.limit }),
        "subscribe-presence" => Ok(ClientFrame::SubscribePresence { user_ids: required("userIds", data.user_ids)?.0 }),
        "ping" => Ok(ClientFrame::Ping),
        _ => Err(Refusal::invalid("this type of frame is not known")),
    }
}
