//! Drops read marks that clients have passed already.
//!
//! A stage or process that replaces another may work a batch again, so an old mark can come after newer ones. Read
//! receipts have no seq by which a client could tell.

use std::num::NonZeroUsize;

use lru::LruCache;
use schemas::ids::{ConversationId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;

/// Marks in memory, about 100 bytes each. The least recently used one makes room.
const MARKS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("it is not zero");

/// The newest delivered marks.
#[derive(Debug)]
pub struct Receipts {
    delivered: LruCache<(ConversationId, UserId), Seq>,
}

impl Receipts {
    pub fn new() -> Self {
        Self { delivered: LruCache::new(MARKS_MAX) }
    }

    /// Whether to deliver a message: `false` for a read mark at or below one that was delivered.
    pub fn is_news(&mut self, message: &Sequenced) -> bool {
        if message.kind != Kind::ReadMark {
            return true;
        }
        let seq = message.target_seq.unwrap_or_default();
        let newest = self.delivered.get_or_insert_mut((message.conversation_id, message.sender_id), Seq::default);
        let rises = seq > *newest;
        *newest = seq.max(*newest);
        rises
    }
}
