//! Reading outside of any group.

use std::pin::pin;
use std::sync::Arc;

use futures::stream;
use tokio::sync::Notify;

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
struct EmbeddedReader {
    shared: Arc<Shared>,
    /// Told when the topic has something new.
    changed: Arc<Notify>,
    cursors: Vec<Cursor>,
    /// Whose turn it is.
    turn: usize,
}

/// Finds where to start.
///
/// # Errors
/// [`LogError::NoSuchPartition`], or [`LogError::OffsetOutOfRange`] beyond the end.
pub(super) async fn open(
    shared: Arc<Shared>,
    topic: &'static TopicSpec,
    from: &[(u32, StartAt)],
) -> Result<Reader, LogError> {
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
    let positions: Vec<_> = cursors.iter().map(|cursor| (cursor.partition().index, cursor.position())).collect();
    let changed = Arc::clone(&shared.topics.of(topic)?.changed);
    let reader = EmbeddedReader { shared, changed, cursors, turn: 0 };
    let batches = stream::unfold(reader, |mut reader| async move { Some((reader.next().await, reader)) });
    Ok(Reader::new(positions, batches))
}

impl EmbeddedReader {
    async fn next(&mut self) -> Result<PartitionBatch, LogError> {
        let changed = Arc::clone(&self.changed);
        loop {
            let mut change = pin!(changed.notified());
            change.as_mut().enable();
            if let Some(batch) = self.ready().await? {
                return Ok(batch);
            }
            self.shared.check_open()?;
            change.await;
        }
    }

    async fn ready(&mut self) -> Result<Option<PartitionBatch>, LogError> {
        for _ in 0..self.cursors.len() {
            let turn = self.turn % self.cursors.len();
            self.turn = turn + 1;
            let cursor = &mut self.cursors[turn];
            let before = cursor.position();
            let mut records = Vec::new();
            if cursor.fill(&self.shared.fetches).await? {
                let allowance = Allowance { records: BATCH_RECORDS_MAX, bytes: BATCH_BYTES_MAX, one_at_least: true };
                cursor.take(allowance, &mut records)?;
            }
            if cursor.position() > before {
                let partition = cursor.partition().index;
                return Ok(Some(PartitionBatch { partition, records, next_offset: cursor.position() }));
            }
        }
        Ok(None)
    }
}
