//! Records and drivers that the tests share.

use schemas::ids::{ConversationId, UserId};
use schemas::kind::Kind;
use schemas::records::Upstream;

/// A time at which tests begin, ms since 1970 UTC.
pub const NOW: i64 = 1_800_000_000_000;

pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);

/// What `sender` says, with this clientMsgId.
pub fn said(conversation: ConversationId, sender: UserId, client_msg_id: &str) -> Upstream {
    of_kind(Kind::Text, conversation, sender, client_msg_id)
}

/// An event of any kind.
pub fn of_kind(kind: Kind, conversation: ConversationId, sender: UserId, client_msg_id: &str) -> Upstream {
    Upstream {
        conversation_id: conversation,
        sender_id: sender,
        client_msg_id: client_msg_id.into(),
        kind,
        content: "hello".into(),
        target_seq: None,
        remove: false,
    }
}
