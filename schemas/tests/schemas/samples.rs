//! One record of each kind, with every field set.

use schemas::avro::{AvroError, Record};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{
    DedupeWindow, Delivery, GroupTask, Head, Heartbeat, LogIdentity, Presence, Sequenced, Upstream,
};

pub fn upstream() -> Upstream {
    Upstream {
        conversation_id: ConversationId::single(UserId(1), UserId(i64::MAX)),
        sender_id: UserId(1),
        client_msg_id: "c-1".into(),
        kind: Kind::Reaction,
        content: "👍".into(),
        target_seq: Some(Seq(300)),
        remove: true,
    }
}

pub fn sequenced() -> Sequenced {
    let record = Upstream { conversation_id: ConversationId::World, kind: Kind::Text, target_seq: None, ..upstream() };
    Upstream { remove: false, ..record }.identified(MessageId(1 << 40), Seq(7), 5, 1_800_000_000_000)
}

pub fn delivery() -> Delivery {
    Delivery { epoch: 9, recipients: vec![UserId(1), UserId(2)], message: sequenced() }
}

pub fn group_task() -> GroupTask {
    GroupTask { group_id: GroupId(70), page: 1, pages: 3, message: sequenced() }
}

pub fn presence() -> Presence {
    Presence { user_id: UserId(1), slot: 2, epoch: 3, online: true, at: 4 }
}

pub fn heartbeat() -> Heartbeat {
    Heartbeat { slot: 2, epoch: 3, at: 4 }
}

pub fn head() -> Head {
    Head {
        conversation_id: ConversationId::Group(GroupId(70)),
        seq_id: Seq(8),
        ordinal: 6,
        message_id: MessageId(1 << 40),
    }
}

pub fn dedupe_window() -> DedupeWindow {
    DedupeWindow { hashes: (0..32).collect(), times: vec![1, 1_800_000_000_000] }
}

pub fn log_identity() -> LogIdentity {
    LogIdentity { id: "00ff".into() }
}

/// The bytes of a record.
pub fn bytes_of(record: &impl Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out).unwrap();
    out
}

/// What reading gives, with the error in words.
pub fn read<T: Record>(bytes: &[u8]) -> Result<T, AvroError> {
    T::decode(bytes)
}
