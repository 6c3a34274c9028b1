//! The frames that the server sends: `{"type": …, "id": …, "data": …}`, one JSON text each.

use axum::extract::ws::Utf8Bytes;
use schemas::error::Refusal;
use schemas::ids::{UserId, decimal};
use schemas::pb;
use schemas::time::rfc3339;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::views::{ErrorView, MessageView};

pub fn frame<T: Serialize>(name: &str, id: Option<&str>, data: &T) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        #[serde(rename = "type")]
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        data: &'a T,
    }
    serde_json::to_string(&Envelope { name, id, data }).expect("views have string keys and no failing parts").into()
}

pub fn error(refusal: &Refusal, id: Option<&str>, client_msg_id: Option<&str>) -> Utf8Bytes {
    frame("error", id, &ErrorView::of(refusal, client_msg_id))
}

/// `hello`: the first frame of a socket.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    #[serde(with = "decimal")]
    pub user_id: UserId,
    #[serde(with = "decimal")]
    pub session_id: i64,
    pub server_time: String,
    pub heartbeat_seconds: u64,
    /// Seconds for which a resend is recognised.
    pub resend_window_seconds: u64,
    pub protocol: u32,
}

pub fn ack(id: Option<&str>, client_msg_id: &str) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Ack<'a> {
        client_msg_id: &'a str,
        temp_message_id: &'a str,
        status: &'static str,
    }
    frame("message-ack", id, &Ack { client_msg_id, temp_message_id: client_msg_id, status: "accepted" })
}

/// `heads` in the order given.
pub fn heads(heads: &[pb::ConversationHead]) -> Utf8Bytes {
    struct InOrder<'a>(&'a [pb::ConversationHead]);
    impl Serialize for InOrder<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(self.0.len()))?;
            for head in self.0 {
                map.serialize_entry(&head.conversation_id, &head.last_seq)?;
            }
            map.end()
        }
    }
    #[derive(Serialize)]
    struct Heads<'a> {
        heads: InOrder<'a>,
    }
    frame("heads", None, &Heads { heads: InOrder(heads) })
}

pub fn sync_result(
    id: Option<&str>,
    conversation_id: &str,
    messages: &[pb::Message],
    has_more: bool,
    recovered: bool,
) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct SyncResult<'a> {
        conversation_id: &'a str,
        messages: Vec<MessageView<'a>>,
        has_more: bool,
        recovered: bool,
    }
    let messages = messages.iter().map(MessageView::stored).collect();
    frame("sync-result", id, &SyncResult { conversation_id, messages, has_more, recovered })
}

pub fn typing(conversation_id: &str, user_id: UserId) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Typing<'a> {
        conversation_id: &'a str,
        #[serde(with = "decimal")]
        user_id: UserId,
    }
    frame("typing", None, &Typing { conversation_id, user_id })
}

/// `last_seen_ms` is since 1970 UTC.
pub fn presence(id: Option<&str>, user_id: UserId, online: bool, last_seen_ms: Option<i64>) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Presence {
        #[serde(with = "decimal")]
        user_id: UserId,
        online: bool,
        last_seen: Option<String>,
    }
    frame("presence", id, &Presence { user_id, online, last_seen: last_seen_ms.map(rfc3339) })
}

pub fn pong(id: Option<&str>, now_ms: i64) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pong {
        server_time: String,
    }
    frame("pong", id, &Pong { server_time: rfc3339(now_ms) })
}
