//! Reading a partition up to an end that was looked up before: for tools and audits, which read what is
//! there and then stop. Not a `Stream`, since the end may be moved between two batches.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalogue::TopicSpec;
use crate::log::{Incoming, Log, LogError, PartitionBatch, Reader, StartAt};

/// How long a scan waits without progress. The log aborts transactions that were left open well within it.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// Reads one partition, and stops at an end.
pub struct Scan {
    reader: Reader,
    topic: &'static TopicSpec,
    partition: u32,
    end: u64,
    /// Records that were read and lie at the end or beyond it.
    beyond: Vec<Incoming>,
}

impl Scan {
    /// From a place up to `end`, as [`Log::bounds`] gave it.
    ///
    /// # Errors
    /// Those of [`Log::read`].
    pub async fn open(
        log: &dyn Log,
        topic: &'static TopicSpec,
        partition: u32,
        from: StartAt,
        end: u64,
    ) -> Result<Self, LogError> {
        let reader = log.read(topic, &[(partition, from)]).await?;
        Ok(Self { reader, topic, partition, end, beyond: Vec::new() })
    }

    /// Goes on up to a later end.
    pub fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// The next offset to read.
    pub fn position(&self) -> u64 {
        let read_to = || self.reader.position(self.partition).unwrap_or(self.end);
        self.beyond.first().map_or_else(read_to, |record| record.offset)
    }

    /// The next records below the end; `None` once it is reached.
    ///
    /// # Errors
    /// [`LogError::Stalled`] when a transaction below the end stays open for [`STALL_MAX`], and those
    /// of [`Reader`].
    pub async fn next(&mut self) -> Result<Option<PartitionBatch>, LogError> {
        let mut deadline = Instant::now() + STALL_MAX;
        loop {
            let before = self.position();
            if before >= self.end {
                return Ok(None);
            }
            let mut records = std::mem::take(&mut self.beyond);
            if records.is_empty() {
                let wait = deadline.saturating_duration_since(Instant::now());
                records = self.reader.next_within(wait).await?.map_or_else(Vec::new, |batch| batch.records);
            }
            let below = records.partition_point(|record| record.offset < self.end);
            self.beyond = records.split_off(below);
            if !records.is_empty() {
                let next_offset = self.position();
                return Ok(Some(PartitionBatch { partition: self.partition, records, next_offset }));
            }
            let now = Instant::now();
            if self.position() > before {
                deadline = now + STALL_MAX;
            } else if now >= deadline {
                let (topic, partition) = (self.topic.name.to_owned(), self.partition);
                return Err(LogError::Stalled { topic, partition, offset: before });
            }
        }
    }
}
