//! What the log, its members and its readers have in common.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::call::Limits;
use super::cursor::{Allowance, Cursor};
use super::failure::WriteFailure;
use super::fetch::Fetches;
use super::group::Group;
use super::lock::locked;
use super::open::Groups;
use super::partition::Partition;
use super::queue::Queue;
use super::rows;
use super::topics::Topics;
use super::work::Work;
use crate::catalogue::{Layout, TopicSpec};
use crate::log::{Bounds, LogError};

/// What members and readers need of the log.
#[derive(Debug)]
pub(super) struct Shared {
    pub layout: Layout,
    pub dedupe_window: Option<Duration>,
    pub limits: Limits,
    pub topics: Arc<Topics>,
    pub fetches: Fetches,
    pub groups: Mutex<Groups>,
    pub access: Access,
    /// Why the last transaction was not written, if it was not.
    pub failing: Arc<Mutex<Option<WriteFailure>>>,
    pub closed: AtomicBool,
}

/// What may be done with the log.
#[derive(Debug)]
pub(super) enum Access {
    /// Everything, by way of the writer.
    Write { dir: PathBuf, queue: Arc<Queue<Work>> },
    /// Reading; another process may write.
    Read { dir: PathBuf },
}

impl Shared {
    pub fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::SeqCst) { Err(LogError::Closed) } else { Ok(()) }
    }

    pub fn queue(&self) -> Result<&Queue<Work>, LogError> {
        match &self.access {
            Access::Write { queue, .. } => Ok(queue),
            Access::Read { dir } => Err(LogError::Unusable {
                path: dir.display().to_string(),
                reason: "it was opened for reading only: changes go through the process that writes it".into(),
            }),
        }
    }

    pub fn group(&self, name: &str, topic: &'static TopicSpec) -> Result<Arc<Group>, LogError> {
        let partitions = self.topics.of(topic)?.partitions as usize;
        let mut groups = locked(&self.groups);
        let group = groups
            .entry((name.to_owned(), topic.name))
            .or_insert_with(|| Arc::new(Group::new(name.to_owned(), topic, vec![None; partitions])));
        Ok(Arc::clone(group))
    }

    /// The first offset with this time or later. Times never fall within a partition, so halving the
    /// offsets finds the batch.
    pub async fn offset_at(&self, partition: &Arc<Partition>, time_ms: i64) -> Result<u64, LogError> {
        let (id, Bounds { start, end }) = (partition.id, partition.bounds());
        let find = move |db: &rusqlite::Connection| -> rusqlite::Result<u64> {
            let (mut low, mut high) = (start, end);
            while low < high {
                let middle = low + (high - low) / 2;
                match rows::at_or_below(db, id, middle)? {
                    Some(batch) if batch.last_time >= time_ms => high = batch.base.max(low),
                    Some(batch) => low = batch.end.max(middle + 1),
                    None => low = middle + 1,
                }
            }
            Ok(low)
        };
        let low = self.fetches.ask("looking for a time", find).await?;
        self.first_at(partition, low, end, time_ms).await
    }

    /// In the batch that holds `offset`, or the next one, the first record with this time or later.
    async fn first_at(&self, partition: &Arc<Partition>, offset: u64, end: u64, time_ms: i64) -> Result<u64, LogError> {
        let mut cursor = Cursor::new(Arc::clone(partition), offset);
        let allowance = Allowance { records: 1, bytes: usize::MAX, one_at_least: true };
        let mut record = Vec::new();
        while cursor.position() < end && cursor.fill(&self.fetches).await? {
            record.clear();
            cursor.take(allowance, &mut record)?;
            if let Some(record) = record.first().filter(|record| record.time_ms >= time_ms) {
                return Ok(record.offset);
            }
        }
        Ok(end)
    }
}
