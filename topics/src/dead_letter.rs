//! Bytes that are no record: set aside as they came, with the reason and the place they came from.

use bytes::Bytes;

use crate::catalogue::{DEAD_LETTERS, TopicSpec};
use crate::headers::Headers;
use crate::log::{Incoming, Log, Outgoing};

/// Who met the bytes, and why they are none.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// The consumer group, or other reader, that could not read them.
    pub reader: &'a str,
    /// What is wrong with them, causes included.
    pub error: &'a str,
}

/// The dead letter of a record of `topic`: its key and value as they came, its headers and, beside
/// them, `error`, `source-reader`, `source-topic`, `source-partition` and `source-offset`.
pub fn dead_letter(topic: &TopicSpec, partition: u32, record: &Incoming, reason: Reason<'_>) -> Outgoing {
    let facts = [
        ("error", reason.error.to_owned()),
        ("source-reader", reason.reader.to_owned()),
        ("source-topic", topic.name.to_owned()),
        ("source-partition", partition.to_string()),
        ("source-offset", record.offset.to_string()),
    ];
    let mut headers: Headers = record.headers.clone();
    headers.other.extend(facts.map(|(name, fact)| (name.into(), Bytes::from(fact))));
    Outgoing {
        topic: &DEAD_LETTERS.spec,
        partition: None,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}

/// Appends dead letters of a reader that commits nothing. When the log does not take them they are
/// only logged: the source still has the bytes.
pub async fn append(log: &dyn Log, letters: Vec<Outgoing>) {
    if letters.is_empty() {
        return;
    }
    let count = letters.len();
    if let Err(error) = log.append(letters).await {
        tracing::error!(%error, count, "dead letters could not be written; their source still has them");
    }
}
