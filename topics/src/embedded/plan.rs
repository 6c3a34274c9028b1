//! One group commit: which batches and positions it writes, and who is answered.

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
use crate::catalogue::TopicSpec;
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
    batch: Batch,
}

struct PlannedPosition {
    group: String,
    partition: u32,
    position: u64,
}

/// Batches that still grow, by partition.
type Open = HashMap<usize, Growing>;

struct Growing {
    base: u64,
    time: i64,
    records: u64,
    body: Vec<u8>,
}

/// What one group commit writes.
pub(super) struct Plan {
    /// With the first offset of each chunk.
    callers: Vec<(Planned, Vec<u64>)>,
    rows: Vec<PlannedRow>,
    positions: Vec<PlannedPosition>,
}

impl Plan {
    /// Gives every record its place and time.
    pub fn new(group: Vec<Planned>, topics: &Topics, clock: &Clock) -> Self {
        let mut plan = Self { callers: Vec::new(), rows: Vec::new(), positions: Vec::new() };
        let mut open = Open::new();
        let mut ends = HashMap::new();
        let now = clock.now_ms();
        for mut planned in group {
            let chunks = planned.chunks.drain(..);
            let bases = chunks.map(|chunk| plan.place(chunk, now, topics, &mut open, &mut ends)).collect();
            if let Caller::Commit(commit, _) = &planned.caller {
                plan.take_positions(commit, topics);
            }
            plan.callers.push((planned, bases));
        }
        for (partition, open) in open {
            plan.close(partition, open, topics);
        }
        // Batches of a partition become visible in the order of their offsets.
        plan.rows.sort_by_key(|row| (row.partition, row.batch.base));
        plan
    }

    fn place(
        &mut self,
        chunk: Chunk,
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
            && growing.body.len() + chunk.body.len() <= BATCH_BYTES_TARGET
        {
            growing.body.extend_from_slice(&chunk.body);
            growing.records += chunk.records;
            return base;
        }
        let opened = Growing { base, time: *time, records: chunk.records, body: chunk.body };
        if let Some(full) = open.insert(chunk.partition, opened) {
            self.close(chunk.partition, full, topics);
        }
        base
    }

    fn close(&mut self, partition: usize, grown: Growing, topics: &Topics) {
        let Growing { base, time, records, body } = grown;
        let (id, topic) = (topics.at(partition).id, topics.at(partition).topic);
        let batch = Batch { base, span: records, records, first_time: time, last_time: time, body: sealed(body) };
        self.rows.push(PlannedRow { partition, id, topic, batch });
    }

    fn take_positions(&mut self, commit: &Committing, topics: &Topics) {
        for &(partition, position) in &commit.positions {
            // A member owns only partitions that exist.
            let Ok(partition) = topics.partition(commit.group.topic(), partition) else { continue };
            let group = commit.group.name().to_owned();
            self.positions.push(PlannedPosition { group, partition: partition.id, position });
        }
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.rows.iter().map(|row| row.batch.records).sum()
    }

    /// Writes it. Returns about how many bytes that is.
    pub fn write(&self, tx: &Transaction<'_>) -> rusqlite::Result<usize> {
        let mut bytes = 0;
        for row in &self.rows {
            rows::insert_batch(tx, row.id, &row.batch)?;
            bytes += row.batch.body.len() + ROW_OVERHEAD_BYTES;
        }
        for position in &self.positions {
            storage::set_position(tx, &position.group, position.partition, position.position)?;
            bytes += ROW_OVERHEAD_BYTES;
        }
        Ok(bytes)
    }

    /// It is committed: shows it, and answers.
    pub fn publish(self, topics: &Topics) {
        let mut woken: Vec<&'static TopicSpec> = Vec::new();
        for row in self.rows {
            topics.at(row.partition).publish(row.batch);
            if !woken.iter().any(|topic| std::ptr::eq(*topic, row.topic)) {
                woken.push(row.topic);
            }
        }
        woken.into_iter().for_each(|topic| topics.wake(topic));
        for (planned, bases) in self.callers {
            planned.succeed(bases);
        }
    }

    /// Tells everyone that nothing was written.
    pub fn fail(self, failure: &WriteFailure, dir: &Path) {
        for (planned, _) in self.callers {
            planned.fail(failure, dir);
        }
    }
}
