//! What an audit looks at, and how far the stages were when it began.

use std::collections::HashMap;

use stages::repo::store::StoreError;
use topics::log::{Log, LogError, PartitionLag, StartAt};

use crate::topology::{Fuse, Row, STAGES};

/// What is looked at, and by which limits.
#[derive(Debug, Clone)]
pub struct Scope {
    pub now_ms: i64,
    /// Only what came at this time or later, ms since 1970 UTC; `None`: everything that is kept.
    pub since_ms: Option<i64>,
    /// The window within which copies are one message.
    pub dedupe_window_ms: i64,
    /// Records that may wait for a group, over all partitions.
    pub lag_records_max: u64,
    /// Messages of `sequenced-messages` held at once.
    pub identities_max: u64,
    /// Which stages share a task: the topic between them is not written.
    pub fuse: Fuse,
}

impl Scope {
    pub(super) fn from(&self) -> StartAt {
        self.since_ms.map_or(StartAt::Earliest, StartAt::Time)
    }
}

/// Something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the topics can't be looked at")]
    Log(#[from] LogError),
    #[error("the store can't be looked at")]
    Store(#[from] StoreError),
}

/// Committed positions of the chain's groups, at one moment.
pub(super) struct Positions(HashMap<&'static str, Vec<PartitionLag>>);

impl Positions {
    pub(super) async fn take(log: &dyn Log) -> Result<Self, LogError> {
        let mut positions = HashMap::new();
        for stage in STAGES {
            positions.insert(stage.name(), log.lag(stage.name(), stage.input()).await?);
        }
        Ok(Self(positions))
    }

    pub(super) fn rows(&self, stage: &dyn Row) -> &[PartitionLag] {
        self.0.get(stage.name()).map_or(&[], Vec::as_slice)
    }

    /// How far a stage has read a partition.
    pub(super) fn of(&self, stage: &dyn Row, partition: u32) -> Option<u64> {
        self.rows(stage).iter().find(|row| row.partition == partition)?.committed
    }
}
