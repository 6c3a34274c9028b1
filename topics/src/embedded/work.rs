//! What the writer is asked for.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::Batch;
use super::call::Chunk;
use super::group::{Group, MemberId, Outcome};
use crate::log::LogError;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Work {
    /// Records to append; the answer is the first offset of each chunk.
    Append(Vec<Chunk>, Reply<Vec<u64>>),
    Commit(Vec<Chunk>, Committing, Reply<()>),
    /// A change to old batches.
    Upkeep(usize, Change, Reply<()>),
    /// Copy the rest of the write-ahead log, so that it restarts from empty.
    FinishCheckpoint,
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// Whose commit it is.
#[derive(Debug)]
pub(super) struct Committing {
    pub group: Arc<Group>,
    pub member: MemberId,
    pub instance: String,
    /// The next offset of each partition.
    pub positions: Vec<(u32, u64)>,
}

/// A change to old batches of a partition.
#[derive(Debug)]
pub(super) enum Change {
    /// Drop what lies below.
    DropBelow {
        offset: u64,
        /// Time of the newest record dropped.
        last_time: i64,
    },
    /// Put these batches in the place of those that start in a span.
    Replace {
        /// First offset of the span.
        from: u64,
        /// First offset behind it.
        until: u64,
        /// What is left of it.
        batches: Vec<Batch>,
    },
    /// Note that all below is compacted.
    CompactedBelow(u64),
}

impl Committing {
    /// Ends it in its group.
    pub fn settle(&self, outcome: Outcome) {
        self.group.settle(&self.positions, outcome);
    }
}
