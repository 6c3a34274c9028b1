//! How far each user is known to have read each conversation, of what passed here lately.
//!
//! The chain passes on marks that rise, but may pass one on a second time after others: when a stage or a process that
//! was replaced works a batch again. Read receipts have no seq by which a client could tell.

use std::num::NonZeroUsize;

use lru::LruCache;
use schemas::ids::{ConversationId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;

/// Marks that are remembered; the one told of longest ago makes room. Some 100 bytes each.
const MARKS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("it is not zero");

/// The newest marks that clients were told of.
#[derive(Debug)]
pub struct Receipts {
    told: LruCache<(ConversationId, UserId), Seq>,
}

impl Receipts {
    /// Nobody was told of any.
    pub fn new() -> Self {
        Self { told: LruCache::new(MARKS_MAX) }
    }

    /// Whether clients are to be told of a message: not of a read mark at or below one that they know.
    pub fn is_news(&mut self, message: &Sequenced) -> bool {
        if message.kind != Kind::ReadMark {
            return true;
        }
        let seq = message.target_seq.unwrap_or_default();
        let told = self.told.get_or_insert_mut((message.conversation_id, message.sender_id), Seq::default);
        let rises = seq > *told;
        *told = seq.max(*told);
        rises
    }
}
