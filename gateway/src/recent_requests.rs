//! Refuses two different requests under one clientMsgId: the chain would drop the second as a repeat of the first.
//!
//! Only requests through this gateway are compared.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use moka::future::Cache;
use schemas::error::Refusal;
use schemas::records::Upstream;

/// Hashes of recent requests, by the hash of the key that dedupe compares.
#[derive(Debug)]
pub struct RecentRequests(Cache<u64, u64>);

impl RecentRequests {
    /// Remembers up to `requests_max` for as long as dedupe takes a resend for a repeat.
    pub fn new(requests_max: u64, window: Duration) -> Self {
        Self(Cache::builder().max_capacity(requests_max).time_to_live(window).build())
    }

    /// Refuses a request under the key of another one. The same request is a repeat, which is fine.
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

    /// Remembers a request that goes into the log.
    pub async fn remember(&self, record: &Upstream) {
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
