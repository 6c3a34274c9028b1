//! One group commit: which batches and positions it writes, and who is answered.

use std::collections::BTreeMap;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Transaction;
use tokio::sync::OwnedSemaphorePermit;

use super::batch::Batch;
use super::call::{BATCH_BYTES_TARGET, Chunk, sealed};
use super::failure::WriteFailure;
use super::group::Outcome;
use super::partition::Partition;
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

/// A batch that still grows.
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
    /// Those of a partition in the order of their offsets.
    batches: Vec<(Arc<Partition>, Batch)>,
}

impl Plan {
    /// Gives every record its place and time.
    pub fn new(group: Vec<Planned>, topics: &Topics, clock: &Clock) -> Self {
        let mut plan = Self { callers: Vec::new(), batches: Vec::new() };
        let mut open = BTreeMap::new();
        let now = clock.now_ms();
        for mut planned in group {
            let chunks = planned.chunks.drain(..);
            let bases = chunks.map(|chunk| plan.place(chunk, now, topics, &mut open)).collect();
            plan.callers.push((planned, bases));
        }
        plan.batches.extend(open.into_iter().map(|(number, grown)| (Arc::clone(topics.at(number)), grown.finish())));
        plan
    }

    fn place(&mut self, chunk: Chunk, now: i64, topics: &Topics, open: &mut BTreeMap<usize, Growing>) -> u64 {
        let partition = topics.at(chunk.partition);
        let growing = open.entry(chunk.partition).or_insert_with(|| {
            let (end, last_time) = partition.end();
            Growing { base: end, time: last_time.max(now), records: 0, body: Vec::new() }
        });
        let base = growing.base + growing.records;
        if growing.records > 0 && growing.body.len() + chunk.body.len() > BATCH_BYTES_TARGET {
            let next = Growing { base, time: growing.time, records: 0, body: Vec::new() };
            self.batches.push((Arc::clone(partition), mem::replace(growing, next).finish()));
        }
        if growing.body.is_empty() {
            growing.body = chunk.body;
        } else {
            growing.body.extend_from_slice(&chunk.body);
        }
        growing.records += chunk.records;
        base
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.batches.iter().map(|(_, batch)| batch.records).sum()
    }

    /// Writes it. Returns about how many bytes that is.
    pub fn write(&self, tx: &Transaction<'_>, topics: &Topics) -> rusqlite::Result<usize> {
        let mut bytes = 0;
        for (partition, batch) in &self.batches {
            rows::insert_batch(tx, partition.id, batch)?;
            bytes += batch.body.len() + ROW_OVERHEAD_BYTES;
        }
        for (planned, _) in &self.callers {
            let Caller::Commit(commit, _) = &planned.caller else { continue };
            for &(partition, position) in &commit.positions {
                // A member owns only partitions that exist.
                let Ok(partition) = topics.partition(commit.group.topic(), partition) else { continue };
                storage::set_position(tx, commit.group.name(), partition.id, position)?;
                bytes += ROW_OVERHEAD_BYTES;
            }
        }
        Ok(bytes)
    }

    /// It is committed: shows it, and answers.
    pub fn publish(self, topics: &Topics) {
        let mut grown: Vec<&'static TopicSpec> = Vec::with_capacity(self.batches.len());
        for (partition, batch) in self.batches {
            grown.push(partition.topic);
            partition.publish(batch);
        }
        grown.dedup_by_key(|topic| topic.name);
        grown.into_iter().for_each(|topic| topics.wake(topic));
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

impl Growing {
    fn finish(self) -> Batch {
        let Self { base, time, records, body } = self;
        Batch { base, span: records, records, first_time: time, last_time: time, body: sealed(body) }
    }
}
