//! Retention and compaction, in the background and in steps small enough not to hold up commits.
//!
//! Retention drops whole batches whose newest record is too old. Compaction works as Kafka's log
//! cleaner does: it notes the newest offset of each key in the part that was not compacted yet, then
//! goes over the partition from its start and keeps a record only if no newer one of its key was
//! noted. Offsets and times stay; small batches are joined on the way.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128;

use super::failure;
use super::lock::locked;
use super::partition::Partition;
use super::queue::Queue;
use super::rows::{self, Span};
use super::thin::thin;
use super::topics::Topics;
use super::work::{Change, Work};
use crate::catalogue::Cleanup;
use crate::clock::Clock;
use crate::log::LogError;

/// Batches dropped in one transaction.
const DROP_BATCHES_MAX: u32 = 64;
/// Bytes of batches dropped or rewritten in one transaction.
const STEP_BYTES: usize = 2 << 20;
/// Keys noted in one run of compaction, 32 bytes each. What has more is compacted in several runs.
const COMPACT_KEYS_MAX: usize = 1 << 20;

/// What keeps a log tidy.
#[derive(Debug)]
pub(super) struct Upkeep {
    topics: Arc<Topics>,
    queue: Arc<Queue<Work>>,
    clock: Clock,
    compact_dirty_records_min: u64,
    db: Mutex<Connection>,
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Upkeep {
    /// Upkeep that reads through this connection and changes through the writer.
    pub fn new(
        db: Connection,
        topics: Arc<Topics>,
        queue: Arc<Queue<Work>>,
        clock: Clock,
        compact_dirty_records_min: u64,
    ) -> Self {
        let (closed, closing) = (Mutex::new(false), Condvar::new());
        Self { topics, queue, clock, compact_dirty_records_min, db: Mutex::new(db), closed, closing }
    }

    /// The body of the thread: does what is due, again and again.
    pub fn run(&self, interval: Duration) {
        while self.pause(interval) {
            match self.do_due() {
                Ok(()) => {}
                Err(LogError::Closed) => return,
                Err(e) => tracing::warn!(error = %e, "upkeep of the log failed; it is tried again later"),
            }
        }
    }

    pub fn close(&self) {
        *locked(&self.closed) = true;
        self.closing.notify_all();
    }

    fn pause(&self, interval: Duration) -> bool {
        let closed = locked(&self.closed);
        let (closed, _) = self
            .closing
            .wait_timeout_while(closed, interval, |closed| !*closed)
            .unwrap_or_else(PoisonError::into_inner);
        !*closed
    }

    /// Drops what is too old and compacts what has grown.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub fn do_due(&self) -> Result<(), LogError> {
        let db = locked(&self.db);
        for (number, partition) in self.topics.partitions().iter().enumerate() {
            match partition.topic.cleanup {
                Cleanup::Delete(retention) => self.drop_old(&db, number, partition, retention)?,
                Cleanup::Compact => self.compact(&db, number, partition)?,
            }
        }
        Ok(())
    }

    fn drop_old(
        &self,
        db: &Connection,
        number: usize,
        partition: &Partition,
        retention: Duration,
    ) -> Result<(), LogError> {
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let too_old = self.clock.now_ms().saturating_sub(retention_ms);
        loop {
            let oldest = rows::oldest(db, partition.id, DROP_BATCHES_MAX)
                .map_err(|e| failure::of_reading("looking for old batches", e))?;
            let mut bytes = 0;
            let dropped = oldest.iter().take_while(|batch| {
                let within = bytes < STEP_BYTES;
                bytes += batch.bytes;
                within && batch.last_time < too_old
            });
            let Some(last) = dropped.last() else { return Ok(()) };
            self.change(number, Change::DropBelow { offset: last.end, last_time: last.last_time })?;
        }
    }

    fn compact(&self, db: &Connection, number: usize, partition: &Partition) -> Result<(), LogError> {
        let (from, end) = (partition.compacted(), partition.bounds().end);
        let (clean, dirty) =
            rows::records_around(db, partition.id, from).map_err(|e| failure::of_reading("counting records", e))?;
        if dirty < self.compact_dirty_records_min.max(1) || dirty < clean {
            return Ok(());
        }
        let (newest, until) = newest_of_keys(db, partition, from, end)?;
        let mut at = 0;
        loop {
            let span = Span { partition: partition.id, from: at, until, bytes_max: STEP_BYTES, gapless: false };
            let batches = fetch(db, partition, span)?;
            let Some(last) = batches.last() else { break };
            let (first, next) = (batches[0].base, last.end());
            let thinned = thin(&batches, |key, offset| newest.get(&xxh3_128(key)).is_none_or(|&n| offset >= n))
                .map_err(|malformed| damaged(partition, first, &malformed))?;
            let records = |batches: &[super::batch::Batch]| batches.iter().map(|batch| batch.records).sum::<u64>();
            if thinned.len() < batches.len() || records(&thinned) < records(&batches) {
                self.change(number, Change::Replace { from: first, until: next, batches: thinned })?;
            }
            at = next;
        }
        self.change(number, Change::CompactedBelow(until))
    }

    fn change(&self, partition: usize, change: Change) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_own(Work::Upkeep(partition, change, reply))?;
        answer.blocking_recv().unwrap_or(Err(LogError::Closed))
    }
}

/// The newest offset of each key from `from` on, and up to where that was looked at.
fn newest_of_keys(
    db: &Connection,
    partition: &Partition,
    from: u64,
    end: u64,
) -> Result<(HashMap<u128, u64>, u64), LogError> {
    let mut newest = HashMap::new();
    let mut at = from;
    while at < end && newest.len() < COMPACT_KEYS_MAX {
        let span = Span { partition: partition.id, from: at, until: end, bytes_max: STEP_BYTES, gapless: false };
        let batches = fetch(db, partition, span)?;
        let Some(last) = batches.last() else { break };
        at = last.end();
        for batch in batches {
            let base = batch.base;
            let mut records = super::batch::Decoder::new(batch);
            while let Some(record) = records.next().map_err(|malformed| damaged(partition, base, &malformed))? {
                newest.insert(xxh3_128(&record.key), record.offset);
            }
        }
    }
    Ok((newest, at))
}

fn fetch(db: &Connection, partition: &Partition, span: Span) -> Result<Vec<super::batch::Batch>, LogError> {
    rows::fetch(db, span).map_err(|e| failure::of_fetching(partition.topic.name, partition.index, e))
}

fn damaged(partition: &Partition, offset: u64, malformed: &super::batch::Malformed) -> LogError {
    let (topic, partition) = (partition.topic.name.into(), partition.index);
    LogError::Corrupt { topic, partition, offset, reason: malformed.to_string() }
}
