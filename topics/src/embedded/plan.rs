//! One group commit: which batches and positions go into which file, and who is answered when.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Transaction;
use tokio::sync::OwnedSemaphorePermit;

use super::batch::Batch;
use super::call::{BATCH_BYTES_TARGET, Chunk, sealed};
use super::failure::WriteFailure;
use super::group::Outcome;
use super::rows;
use super::storage;
use super::topics::Topics;
use super::work::{Committing, Reply};
use crate::catalogue::{Durability, TopicSpec};
use crate::clock::Clock;

/// Bytes that a row or position costs beside its records, for the size of the write-ahead log.
const ROW_OVERHEAD_BYTES: usize = 8_192;

/// A call that will be written, and its caller.
pub(super) struct Planned {
    chunks: Vec<Chunk>,
    caller: Caller,
    _room: Option<OwnedSemaphorePermit>,
}

enum Caller {
    Append(Reply<Vec<u64>>),
    Commit(Committing, Reply<()>),
}

/// Which files a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Only `unsynced.db`.
    Unsynced,
    /// `synced.db`, and the other for records that need not be atomic with it.
    Synced,
    /// Both at once.
    Both,
}

impl Planned {
    pub fn append(chunks: Vec<Chunk>, reply: Reply<Vec<u64>>, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { chunks, caller: Caller::Append(reply), _room: room }
    }

    /// A commit, if its member still owns what it commits; otherwise the member gets the error.
    pub fn admitted(
        chunks: Vec<Chunk>,
        commit: Committing,
        reply: Reply<()>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        match commit.group.admit(commit.member, &commit.instance, &commit.positions) {
            Ok(()) => Some(Self { chunks, caller: Caller::Commit(commit, reply), _room: room }),
            Err(fenced) => {
                let _gone_caller_needs_no_answer = reply.send(Err(fenced));
                None
            }
        }
    }

    fn needs(&self, topics: &Topics) -> Needs {
        let is = |durability| self.chunks.iter().any(|c| topics.at(c.partition).topic.durability == durability);
        match (is(Durability::Synced), is(Durability::Unsynced), &self.caller) {
            // Positions may be lost with the outputs that they stand for, never without them.
            (false, true, _) => Needs::Unsynced,
            (true, true, Caller::Commit(..)) => Needs::Both,
            (true | false, false, _) | (true, true, Caller::Append(_)) => Needs::Synced,
        }
    }

    /// Tells the caller that nothing was written.
    pub fn fail(self, failure: &WriteFailure, dir: &Path) {
        match self.caller {
            Caller::Append(reply) => {
                let _gone_caller_needs_no_answer = reply.send(Err(failure.to_error(dir)));
            }
            Caller::Commit(commit, reply) => {
                commit.settle(Outcome::Failed);
                let _gone_caller_needs_no_answer = reply.send(Err(failure.to_error(dir)));
            }
        }
    }

    fn succeed(self, bases: Vec<u64>) {
        match self.caller {
            Caller::Append(reply) => {
                let _gone_caller_needs_no_answer = reply.send(Ok(bases));
            }
            Caller::Commit(commit, reply) => {
                commit.settle(Outcome::Written);
                let _gone_caller_needs_no_answer = reply.send(Ok(()));
            }
        }
    }
}

/// A batch to be written.
struct PlannedRow {
    /// The partition, as [`Topics`] counts them.
    partition: usize,
    /// Its number in the database.
    id: u32,
    topic: &'static TopicSpec,
    /// The transaction that it stands or falls with; 0: this file's own.
    txn: i64,
    batch: Batch,
}

struct PlannedPosition {
    group: String,
    partition: u32,
    position: u64,
    needs: Needs,
}

/// Batches that still grow, by partition.
type Open = HashMap<usize, Growing>;

struct Growing {
    txn: i64,
    base: u64,
    time: i64,
    records: u64,
    body: Vec<u8>,
}

/// What one group commit writes.
pub(super) struct Plan {
    callers: Vec<(Needs, Planned, Vec<u64>)>,
    rows: Vec<PlannedRow>,
    positions: Vec<PlannedPosition>,
    txn: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub records: u64,
}

impl Plan {
    /// Gives every record its place and time.
    pub fn new(group: Vec<Planned>, topics: &Topics, clock: &Clock, txn: i64) -> Self {
        let mut callers: Vec<_> = group.into_iter().map(|p| (p.needs(topics), p, Vec::new())).collect();
        // Commits to both files last: what may have to go again must be the newest of its partition.
        callers.sort_by_key(|(needs, ..)| *needs);
        let mut plan = Self { callers: Vec::new(), rows: Vec::new(), positions: Vec::new(), txn };
        let mut open = Open::new();
        let mut ends = HashMap::new();
        let now = clock.now_ms();
        for (needs, planned, bases) in &mut callers {
            let commit_txn = if *needs == Needs::Both { txn } else { 0 };
            for chunk in planned.chunks.drain(..) {
                bases.push(plan.place(chunk, commit_txn, now, topics, &mut open, &mut ends));
            }
            if let Caller::Commit(commit, _) = &planned.caller {
                plan.take_positions(commit, *needs, topics);
            }
        }
        for (partition, open) in open {
            plan.close(partition, open, topics);
        }
        // Batches of a partition become visible in the order of their offsets.
        plan.rows.sort_by_key(|row| (row.partition, row.batch.base));
        plan.callers = callers;
        plan
    }

    fn place(
        &mut self,
        chunk: Chunk,
        txn: i64,
        now: i64,
        topics: &Topics,
        open: &mut Open,
        ends: &mut HashMap<usize, (u64, i64)>,
    ) -> u64 {
        let (end, time) = ends.entry(chunk.partition).or_insert_with(|| {
            let (end, last_time) = topics.at(chunk.partition).end();
            (end, last_time.max(now))
        });
        let base = *end;
        *end += chunk.records;
        if let Some(growing) = open.get_mut(&chunk.partition)
            && growing.txn == txn
            && growing.body.len() + chunk.body.len() <= BATCH_BYTES_TARGET
        {
            growing.body.extend_from_slice(&chunk.body);
            growing.records += chunk.records;
            return base;
        }
        let opened = Growing { txn, base, time: *time, records: chunk.records, body: chunk.body };
        if let Some(full) = open.insert(chunk.partition, opened) {
            self.close(chunk.partition, full, topics);
        }
        base
    }

    fn close(&mut self, partition: usize, grown: Growing, topics: &Topics) {
        let Growing { txn, base, time, records, body } = grown;
        let (id, topic) = (topics.at(partition).id, topics.at(partition).topic);
        let batch = Batch { base, span: records, records, first_time: time, last_time: time, body: sealed(body) };
        self.rows.push(PlannedRow { partition, id, topic, txn, batch });
    }

    fn take_positions(&mut self, commit: &Committing, needs: Needs, topics: &Topics) {
        for &(partition, position) in &commit.positions {
            // A member owns only partitions that exist.
            let Ok(partition) = topics.partition(commit.group.topic(), partition) else { continue };
            let group = commit.group.name().to_owned();
            self.positions.push(PlannedPosition { group, partition: partition.id, position, needs });
        }
    }

    /// Whether anything goes into this file.
    pub fn touches(&self, durability: Durability) -> bool {
        self.rows.iter().any(|row| row.topic.durability == durability)
            || self.positions.iter().any(|position| position.durability() == durability)
    }

    /// Whether a commit needs both files at once.
    pub fn touches_both(&self) -> bool {
        self.callers.last().is_some_and(|(needs, ..)| *needs == Needs::Both)
    }

    /// Writes what goes into this file. Returns about how many bytes that is.
    pub fn write(&self, durability: Durability, tx: &Transaction<'_>) -> rusqlite::Result<usize> {
        let mut bytes = 0;
        for row in self.rows.iter().filter(|row| row.topic.durability == durability) {
            rows::insert_batch(tx, row.id, &row.batch, row.txn)?;
            bytes += row.batch.body.len() + ROW_OVERHEAD_BYTES;
        }
        for position in self.positions.iter().filter(|position| position.durability() == durability) {
            storage::set_position(tx, &position.group, position.partition, position.position, self.txn)?;
            bytes += ROW_OVERHEAD_BYTES;
        }
        Ok(bytes)
    }

    /// `unsynced.db` is committed: shows what stands without the other file, and answers for it.
    pub fn publish_unsynced(&mut self, topics: &Topics) {
        let stands = |row: &PlannedRow| row.topic.durability == Durability::Unsynced && row.txn == 0;
        self.publish(topics, stands);
        self.answer(|needs| needs == Needs::Unsynced);
    }

    /// Both files are committed: shows the rest, and answers for it.
    pub fn publish_synced(mut self, topics: &Topics) -> Written {
        let records = self.rows.iter().map(|row| row.batch.records).sum();
        self.publish(topics, |row| row.topic.durability == Durability::Synced || row.txn != 0);
        self.answer(|_| true);
        Written { records }
    }

    fn publish(&self, topics: &Topics, which: impl Fn(&PlannedRow) -> bool) {
        let mut woken: Vec<&'static TopicSpec> = Vec::new();
        for row in self.rows.iter().filter(|row| which(row)) {
            topics.at(row.partition).publish(row.batch.clone());
            if !woken.iter().any(|topic| std::ptr::eq(*topic, row.topic)) {
                woken.push(row.topic);
            }
        }
        woken.into_iter().for_each(|topic| topics.wake(topic));
    }

    fn answer(&mut self, which: impl Fn(Needs) -> bool) {
        for (_, planned, bases) in self.callers.extract_if(.., |(needs, ..)| which(*needs)) {
            planned.succeed(bases);
        }
    }

    /// Rows that are in `unsynced.db` though their commit failed.
    pub fn rows_in_both(&self) -> impl Iterator<Item = (u32, u64)> {
        let in_both = |row: &&PlannedRow| row.topic.durability == Durability::Unsynced && row.txn != 0;
        self.rows.iter().filter(in_both).map(|row| (row.id, row.batch.base))
    }

    /// Tells everyone who was not answered yet that nothing was written.
    pub fn fail_all(self, failure: &WriteFailure, dir: &Path) {
        for (_, planned, _) in self.callers {
            planned.fail(failure, dir);
        }
    }
}

impl PlannedPosition {
    fn durability(&self) -> Durability {
        match self.needs {
            Needs::Unsynced => Durability::Unsynced,
            Needs::Synced | Needs::Both => Durability::Synced,
        }
    }
}
