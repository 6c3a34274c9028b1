//! Reading a partition up to an end that was looked up before: for tools and audits, which want to
//! look at all there is and then stop.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalogue::TopicSpec;
use crate::log::{Log, LogError, PartitionBatch, Reader, StartAt};

/// How long a scan waits where it does not get on. A log ends transactions that were left open by
/// itself, well within it.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// Reads one partition, and stops at an end.
pub struct Scan {
    reader: Box<dyn Reader>,
    topic: &'static TopicSpec,
    partition: u32,
    end: u64,
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
        Ok(Self { reader, topic, partition, end })
    }

    /// Goes on up to a later end.
    pub fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// The next offset to read.
    pub fn position(&self) -> u64 {
        self.reader.position(self.partition).unwrap_or(self.end)
    }

    /// The next records below the end; `None` once it is reached.
    ///
    /// # Errors
    /// [`LogError::Stalled`] when a transaction below the end stays open for [`STALL_MAX`], and those
    /// of [`Reader::next`].
    pub async fn next(&mut self) -> Result<Option<PartitionBatch>, LogError> {
        let mut deadline = Instant::now() + STALL_MAX;
        loop {
            let before = self.position();
            if before >= self.end {
                return Ok(None);
            }
            if let Some(mut batch) = self.reader.next(deadline.saturating_duration_since(Instant::now())).await? {
                let end = self.end;
                batch.records.retain(|record| record.offset < end);
                if !batch.records.is_empty() {
                    return Ok(Some(batch));
                }
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
