//! Two different requests under one clientMsgId: the chain would drop the second as a repeat of the first.
//!
//! What this gateway has taken it recognises; what went through another one it can't know.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use moka::future::Cache;
use schemas::error::Refusal;
use schemas::records::Upstream;

/// Hashes of the requests that were taken, by the hash of what dedupe knows them by.
#[derive(Debug)]
pub struct Taken(Cache<u64, u64>);

impl Taken {
    /// Remembers up to `requests_max` for as long as dedupe would take one for a repeat.
    pub fn new(requests_max: u64, window: Duration) -> Self {
        Self(Cache::builder().max_capacity(requests_max).time_to_live(window).build())
    }

    /// Refuses another request under the key of an earlier one. The same one is a repeat, and welcome.
    ///
    /// # Errors
    /// InvalidInput.
    pub async fn check(&self, record: &Upstream) -> Result<(), Refusal> {
        match self.0.get(&key_of(record)).await {
            Some(earlier) if earlier != request_of(record) => Err(Refusal::invalid(
                "another request was sent under this clientMsgId: give each its own, and repeat it only to send the \
                 same again",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes one that is on its way into the log.
    pub async fn note(&self, record: &Upstream) {
        if !record.client_msg_id.is_empty() {
            self.0.insert(key_of(record), request_of(record)).await;
        }
    }
}

fn key_of(record: &Upstream) -> u64 {
    hash((record.conversation_id, record.sender_id, &record.client_msg_id))
}

fn request_of(record: &Upstream) -> u64 {
    hash((&record.kind, &record.content, record.target_seq, record.remove))
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
