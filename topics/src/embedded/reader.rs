//! Reading outside of any group.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use super::cursor::{Allowance, Cursor};
use super::shared::Shared;
use crate::catalogue::TopicSpec;
use crate::log::{LogError, PartitionBatch, Reader, StartAt};

/// Most records in one batch of a reader.
const BATCH_RECORDS_MAX: usize = 1_000;
/// Most bytes in one batch of a reader; one record may exceed it alone.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Reads partitions of a topic.
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    shared: Arc<Shared>,
    topic: &'static TopicSpec,
    cursors: Vec<Cursor>,
    /// Whose turn it is.
    turn: usize,
}

impl EmbeddedReader {
    /// Finds where to start.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`], or [`LogError::OffsetOutOfRange`] beyond the end.
    pub async fn open(
        shared: Arc<Shared>,
        topic: &'static TopicSpec,
        from: &[(u32, StartAt)],
    ) -> Result<Self, LogError> {
        let mut cursors = Vec::with_capacity(from.len());
        for &(partition, start) in from {
            let partition = shared.topics.partition(topic, partition)?;
            let bounds = partition.bounds();
            let offset = match start {
                StartAt::Earliest => bounds.start,
                StartAt::Latest => bounds.end,
                StartAt::Offset(offset) => offset.max(bounds.start),
                StartAt::Time(time_ms) => shared.offset_at(partition, time_ms).await?,
            };
            partition.check(offset)?;
            cursors.push(Cursor::new(Arc::clone(partition), offset));
        }
        Ok(Self { shared, topic, cursors, turn: 0 })
    }

    async fn ready(&mut self) -> Result<Option<PartitionBatch>, LogError> {
        for _ in 0..self.cursors.len() {
            let turn = self.turn % self.cursors.len();
            self.turn = turn + 1;
            let cursor = &mut self.cursors[turn];
            if !cursor.fill(&self.shared.fetches).await? {
                continue;
            }
            let mut records = Vec::new();
            let allowance = Allowance { records: BATCH_RECORDS_MAX, bytes: BATCH_BYTES_MAX, one_at_least: true };
            cursor.take(allowance, &mut records)?;
            if !records.is_empty() {
                let partition = cursor.partition().index;
                return Ok(Some(PartitionBatch { partition, records, next_offset: cursor.position() }));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, max_wait: Duration) -> Result<Option<PartitionBatch>, LogError> {
        let deadline = Instant::now() + max_wait;
        let changed = Arc::clone(&self.shared.topics.of(self.topic)?.changed);
        loop {
            let mut change = pin!(changed.notified());
            change.as_mut().enable();
            if let Some(batch) = self.ready().await? {
                return Ok(Some(batch));
            }
            self.shared.check_open()?;
            if timeout_at(deadline, change).await.is_err() {
                return Ok(None);
            }
        }
    }

    fn position(&self, partition: u32) -> Option<u64> {
        self.cursors.iter().find(|cursor| cursor.partition().index == partition).map(Cursor::position)
    }
}
