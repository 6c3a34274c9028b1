//! Reading on in one partition: from memory at the tail, from the database further behind.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, Decoder};
use super::fetch::Fetches;
use super::partition::{Look, Partition};
use super::{batch::counted_bytes, rows::Span};
use crate::log::{Incoming, LogError};

/// Bytes fetched from the database at once.
const FETCH_BYTES: usize = 1 << 20;

/// A place in a partition.
#[derive(Debug)]
pub(super) struct Cursor {
    partition: Arc<Partition>,
    next: u64,
    current: Option<Decoder>,
    ready: VecDeque<Batch>,
}

/// How much may be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub records: usize,
    pub bytes: usize,
    /// Whether one record may exceed the bytes.
    pub one_at_least: bool,
}

impl Cursor {
    /// Starts at an offset.
    pub fn new(partition: Arc<Partition>, next: u64) -> Self {
        Self { partition, next, current: None, ready: VecDeque::new() }
    }

    /// The offset that the next record will at least have.
    pub fn position(&self) -> u64 {
        self.next
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Makes sure that there is something to take, if the partition has it. Says whether there is.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Corrupt`] or [`LogError::Storage`].
    pub async fn fill(&mut self, fetches: &Fetches) -> Result<bool, LogError> {
        while self.current.is_none() && self.ready.is_empty() {
            match self.partition.look(self.next)? {
                Look::AtEnd => return Ok(false),
                Look::Tail(batches) => self.ready = batches,
                Look::OnDisk { until } => {
                    let span = Span {
                        partition: self.partition.id,
                        from: self.next,
                        until,
                        bytes_max: FETCH_BYTES,
                        gapless: self.partition.is_gapless(),
                    };
                    self.ready = fetches.fetch(self.partition.topic, self.partition.index, span).await?.into();
                    if self.ready.is_empty() {
                        // Compacted away.
                        self.next = until;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Takes records that [`fill`](Self::fill) has made ready. Returns how many bytes they have.
    ///
    /// # Errors
    /// [`LogError::Corrupt`].
    pub fn take(&mut self, allowance: Allowance, into: &mut Vec<Incoming>) -> Result<usize, LogError> {
        let (mut records, mut bytes) = (0, 0);
        while records < allowance.records {
            let decoder = match &mut self.current {
                Some(decoder) => decoder,
                None => match self.ready.pop_front() {
                    Some(batch) => self.current.insert(Decoder::new(batch)),
                    None => break,
                },
            };
            let mark = decoder.mark();
            let record = match decoder.next() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.next = self.next.max(decoder.batch().end());
                    self.current = None;
                    continue;
                }
                Err(malformed) => {
                    return Err(LogError::Corrupt {
                        topic: self.partition.topic.name.into(),
                        partition: self.partition.index,
                        offset: decoder.batch().base,
                        reason: malformed.to_string(),
                    });
                }
            };
            if record.offset < self.next {
                continue;
            }
            let size = counted_bytes(&record.key, &record.value, &record.headers);
            if bytes + size > allowance.bytes && !(allowance.one_at_least && records == 0) {
                decoder.rewind(mark);
                break;
            }
            self.next = record.offset + 1;
            (records, bytes) = (records + 1, bytes + size);
            into.push(record);
            if decoder.is_done() {
                self.next = self.next.max(decoder.batch().end());
                self.current = None;
            }
        }
        Ok(bytes)
    }
}
