//! The one thread that writes: group commit.
//!
//! It takes everything that waits, writes it in one transaction of each file, and only then answers
//! the callers and shows the records to readers. While one transaction is flushed to disk the next
//! group gathers, so that many callers share one fsync.
//!
//! Two files can't be committed at once. `unsynced.db` goes first. Rows of a commit that touches both
//! bear the number of the transaction, which `synced.db` notes in its own: rows with a later number
//! are of a commit that never was, and go when the log is opened.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::checkpoint::Checkpoints;
use super::failure::WriteFailure;
use super::lock::locked;
use super::plan::{Plan, Planned};
use super::queue::{Queue, Waiting};
use super::rows;
use super::storage;
use super::storage::LAST_TXN;
use super::topics::Topics;
use super::work::{Change, Work};
use crate::catalogue::Durability;
use crate::clock::Clock;
use crate::queue_metrics;

/// Bytes of records in one transaction; what waits beyond goes into the next.
const GROUP_BYTES_MAX: usize = 16 << 20;

pub(super) struct Writer {
    /// The directory, for errors.
    pub dir: PathBuf,
    /// `synced.db`.
    pub synced: Connection,
    /// `unsynced.db`.
    pub unsynced: Connection,
    /// Where work comes from.
    pub queue: Arc<Queue<Work>>,
    /// Where records become visible.
    pub topics: Arc<Topics>,
    /// Gives records their time.
    pub clock: Clock,
    /// Told how much was written.
    pub checkpoints: Arc<Checkpoints>,
    /// Number of the last transaction.
    pub txn: i64,
    /// Rows in `unsynced.db` whose transaction failed in the other file.
    pub leftovers: Vec<(u32, u64)>,
    /// Why the last transaction was not written, if it was not.
    pub failing: Arc<Mutex<Option<WriteFailure>>>,
    /// Set once the disk failed.
    pub broken: Option<WriteFailure>,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        while let Some(taken) = self.queue.take(GROUP_BYTES_MAX) {
            let (held, limit) = self.queue.held_bytes();
            queue_metrics::set("log-write-bytes", held, limit);
            let (mut group, mut own) = (Vec::with_capacity(taken.len()), Vec::new());
            for (work, room) in taken.into_iter().map(Waiting::into_parts) {
                match work {
                    Work::Append(chunks, reply) => group.push(Planned::append(chunks, reply, room)),
                    Work::Commit(chunks, committing, reply) => {
                        group.extend(Planned::admitted(chunks, committing, reply, room));
                    }
                    Work::Upkeep(..) | Work::FinishCheckpoint(_) => own.push(work),
                }
            }
            if !group.is_empty() {
                self.write(group);
            }
            for work in own {
                self.own_work(work);
            }
            self.checkpoints.keep_pace();
        }
    }

    fn write(&mut self, group: Vec<Planned>) {
        if let Some(failure) = self.broken.clone() {
            group.into_iter().for_each(|planned| planned.fail(&failure, &self.dir));
            return;
        }
        let started = tokio::time::Instant::now();
        self.txn += 1;
        let mut plan = Plan::new(group, &self.topics, &self.clock, self.txn);
        if let Err(failure) = self.write_unsynced(&plan) {
            self.note(&failure);
            plan.fail_all(&failure, &self.dir);
            return;
        }
        plan.publish_unsynced(&self.topics);
        if let Err(failure) = self.write_synced(&plan) {
            self.note(&failure);
            self.leftovers.extend(plan.rows_in_both());
            plan.fail_all(&failure, &self.dir);
            return;
        }
        let written = plan.publish_synced(&self.topics);
        *locked(&self.failing) = None;
        metrics::counter!("gochat_log_commits_total").increment(1);
        metrics::counter!("gochat_log_records_total").increment(written.records);
        metrics::histogram!("gochat_log_commit_seconds").record(started.elapsed().as_secs_f64());
    }

    fn write_unsynced(&mut self, plan: &Plan) -> Result<(), WriteFailure> {
        if !plan.touches(Durability::Unsynced) && self.leftovers.is_empty() {
            return Ok(());
        }
        let tx = begin(&mut self.unsynced)?;
        for &(partition, offset) in &self.leftovers {
            rows::delete_batches(&tx, partition, offset, offset + 1)?;
        }
        let bytes = plan.write(Durability::Unsynced, &tx)?;
        tx.commit()?;
        self.leftovers.clear();
        self.checkpoints.wrote(Durability::Unsynced, bytes);
        Ok(())
    }

    fn write_synced(&mut self, plan: &Plan) -> Result<(), WriteFailure> {
        if !plan.touches(Durability::Synced) {
            return Ok(());
        }
        let tx = begin(&mut self.synced)?;
        let bytes = plan.write(Durability::Synced, &tx)?;
        if plan.touches_both() {
            storage::set_setting(&tx, LAST_TXN, self.txn)?;
        }
        tx.commit()?;
        self.checkpoints.wrote(Durability::Synced, bytes);
        Ok(())
    }

    fn own_work(&mut self, work: Work) {
        match work {
            Work::Upkeep(partition, change, reply) => {
                let outcome = match self.broken.clone() {
                    Some(failure) => Err(failure),
                    None => self.change(partition, &change),
                };
                let outcome = outcome.map_err(|failure| {
                    self.note(&failure);
                    failure.to_error(&self.dir)
                });
                let _gone_caller_needs_no_answer = reply.send(outcome);
            }
            Work::FinishCheckpoint(durability) => {
                let db = match durability {
                    Durability::Synced => &self.synced,
                    Durability::Unsynced => &self.unsynced,
                };
                match storage::checkpoint(db) {
                    Ok(true) => self.checkpoints.finished(durability),
                    // A reader or the thread blocks it; the next checkpoint continues.
                    Ok(false) => {}
                    Err(e) => {
                        tracing::warn!(error = %e, "the write-ahead log could not be copied; it grows until that succeeds");
                    }
                }
            }
            Work::Append(..) | Work::Commit(..) => unreachable!("sorted out before"),
        }
    }

    fn change(&mut self, partition: usize, change: &Change) -> Result<(), WriteFailure> {
        let partition = self.topics.at(partition);
        let durability = partition.topic.durability;
        let tx = begin(match durability {
            Durability::Synced => &mut self.synced,
            Durability::Unsynced => &mut self.unsynced,
        })?;
        let mut bytes = 0;
        match change {
            Change::DropBelow { offset, last_time } => {
                rows::delete_batches(&tx, partition.id, 0, *offset)?;
                storage::set_start(&tx, partition.id, *offset, *last_time)?;
            }
            Change::Replace { from, until, batches } => {
                rows::delete_batches(&tx, partition.id, *from, *until)?;
                for batch in batches {
                    rows::insert_batch(&tx, partition.id, batch, 0)?;
                    bytes += batch.body.len();
                }
            }
            Change::CompactedBelow(offset) => storage::set_compacted(&tx, partition.id, *offset)?,
        }
        tx.commit()?;
        match change {
            Change::DropBelow { offset, .. } => partition.dropped_below(*offset),
            Change::Replace { .. } => {}
            Change::CompactedBelow(offset) => partition.compacted_below(*offset),
        }
        self.checkpoints.wrote(durability, bytes);
        Ok(())
    }

    /// Remembers that the disk failed. A full disk is reported by the callers, who retry.
    fn note(&mut self, failure: &WriteFailure) {
        *locked(&self.failing) = Some(failure.clone());
        match failure {
            WriteFailure::Full => tracing::debug!(dir = %self.dir.display(), "no space left for the log"),
            WriteFailure::Broken(e) => {
                tracing::error!(dir = %self.dir.display(), error = %e, "the log's storage failed; nothing is written any more");
                self.broken = Some(failure.clone());
            }
        }
    }
}

fn begin(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}
