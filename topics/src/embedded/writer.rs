//! The one thread that writes: group commit.
//!
//! It takes everything that waits, writes it in one transaction, and only then answers the callers
//! and shows the records to readers. While one transaction is flushed to disk the next group gathers,
//! so that many callers share one fsync.

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
use super::topics::Topics;
use super::witness::Witness;
use super::work::{Change, Work};
use crate::clock::Clock;
use crate::queue_metrics;

/// Bytes of records in one transaction; what waits beyond goes into the next.
const GROUP_BYTES_MAX: usize = 16 << 20;

pub(super) struct Writer {
    /// The directory, for errors.
    pub dir: PathBuf,
    pub db: Connection,
    /// Told how many records were written.
    pub witness: Witness,
    /// Where work comes from.
    pub queue: Arc<Queue<Work>>,
    /// Where records become visible.
    pub topics: Arc<Topics>,
    /// Gives records their time.
    pub clock: Clock,
    /// Told how much was written.
    pub checkpoints: Arc<Checkpoints>,
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
                    Work::Upkeep(..) | Work::FinishCheckpoint => own.push(work),
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
        let plan = Plan::new(group, &self.topics, &self.clock);
        if let Err(failure) = self.commit(&plan) {
            self.note(&failure);
            plan.fail(&failure, &self.dir);
            return;
        }
        *locked(&self.failing) = None;
        self.witness.saw(plan.records());
        metrics::counter!("gochat_log_commits_total").increment(1);
        metrics::counter!("gochat_log_records_total").increment(plan.records());
        plan.publish(&self.topics);
        metrics::histogram!("gochat_log_commit_seconds").record(started.elapsed().as_secs_f64());
    }

    fn commit(&mut self, plan: &Plan) -> Result<(), WriteFailure> {
        let tx = begin(&mut self.db)?;
        let bytes = plan.write(&tx, &self.topics)?;
        tx.commit()?;
        self.checkpoints.wrote(bytes);
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
            Work::FinishCheckpoint => match storage::checkpoint(&self.db) {
                Ok(true) => self.checkpoints.finished(),
                // A reader or the thread blocks it; the next checkpoint continues.
                Ok(false) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "the write-ahead log could not be copied; it grows until that succeeds");
                }
            },
            Work::Append(..) | Work::Commit(..) => unreachable!("sorted out before"),
        }
    }

    fn change(&mut self, partition: usize, change: &Change) -> Result<(), WriteFailure> {
        let partition = self.topics.at(partition);
        let tx = begin(&mut self.db)?;
        let mut bytes = 0;
        match change {
            Change::DropBelow { offset, last_time } => {
                rows::delete_batches(&tx, partition.id, 0, *offset)?;
                storage::set_start(&tx, partition.id, *offset, *last_time)?;
            }
            Change::Replace { from, until, batches } => {
                rows::delete_batches(&tx, partition.id, *from, *until)?;
                for batch in batches {
                    rows::insert_batch(&tx, partition.id, batch)?;
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
        self.checkpoints.wrote(bytes);
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
