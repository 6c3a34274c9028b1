//! Drives a stage alone, without a log, for tests.
//!
//! It does what the runner does: prepares, processes, then commits or aborts, and keeps the
//! changelog of each partition. A crash drops the stage and everything uncommitted, and
//! restores a new stage from the changelog.

use std::collections::BTreeMap;
use std::mem;

use topics::clock::Clock;
use topics::headers::Headers;

use crate::stage::{Context, Input, Outputs, Source, Stage, StageError};
use crate::stream::{Batch, work};

/// What happens to a batch once it is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Outputs and changes are committed.
    Commit,
    /// The commit fails; the stage is told.
    Abort,
    /// The process dies before the commit.
    Crash,
}

/// A stage, a clock, and the changelogs.
pub struct Driver<S: Stage> {
    build: Box<dyn FnMut() -> S + Send>,
    stage: S,
    clock: Clock,
    /// As [`Context::ids_not_after_ms`].
    pub ids_not_after_ms: Option<i64>,
    changelog: BTreeMap<u32, Vec<S::Change>>,
    next_offset: BTreeMap<u32, u64>,
    next_fate: Fate,
}

impl<S: Stage<Change: Clone>> Driver<S> {
    /// Drives what `build` makes, with the partitions `[0, partitions)` assigned.
    /// `build` is called again after each crash.
    pub fn new(partitions: u32, now_ms: i64, mut build: impl FnMut() -> S + Send + 'static) -> Self {
        let mut stage = build();
        (0..partitions).for_each(|partition| stage.assigned(partition));
        Self {
            build: Box::new(build),
            stage,
            clock: Clock::manual(now_ms),
            ids_not_after_ms: None,
            changelog: (0..partitions).map(|partition| (partition, Vec::new())).collect(),
            next_offset: BTreeMap::new(),
            next_fate: Fate::Commit,
        }
    }

    /// The clock: log-append times and [`Context::now_ms`] are read from it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn stage(&mut self) -> &mut S {
        &mut self.stage
    }

    /// The committed changes of a partition, in order.
    pub fn changelog(&self, partition: u32) -> &[S::Change] {
        self.changelog.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Values as the log would give them: at the next offsets of the partition, appended now.
    pub fn inputs(&mut self, partition: u32, values: impl IntoIterator<Item = S::In>) -> Vec<Input<S::In>> {
        let next = self.next_offset.entry(partition).or_default();
        let time_ms = self.clock.now_ms();
        let input = |value| {
            let source = Source { partition, offset: *next, time_ms };
            *next += 1;
            Input { source, headers: Headers::default(), value }
        };
        values.into_iter().map(input).collect()
    }

    /// The next batch gets this fate in place of a commit.
    pub fn next_fate(&mut self, fate: Fate) {
        self.next_fate = fate;
    }

    /// Works a batch. Returns its outputs and changes, committed or not.
    ///
    /// # Errors
    /// The stage's own; the batch was then aborted.
    pub async fn feed(&mut self, batch: Vec<Input<S::In>>) -> Result<Outputs<S::Out, S::Change>, StageError> {
        let context = Context { now_ms: self.clock.now_ms(), ids_not_after_ms: self.ids_not_after_ms };
        let out = work(&mut self.stage, Batch { records: batch, context }).await?.outputs;
        match mem::replace(&mut self.next_fate, Fate::Commit) {
            Fate::Commit => {
                for (partition, change) in &out.changes {
                    self.changelog.entry(*partition).or_default().push(change.clone());
                }
                self.stage.committed();
            }
            Fate::Abort => self.stage.aborted(),
            Fate::Crash => self.crash(),
        }
        Ok(out)
    }

    /// [`feed`](Self::feed) of values of one partition, appended now.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub async fn feed_values(
        &mut self,
        partition: u32,
        values: impl IntoIterator<Item = S::In>,
    ) -> Result<Vec<S::Out>, StageError> {
        let batch = self.inputs(partition, values);
        let out = self.feed(batch).await?;
        Ok(out.records.into_iter().map(|output| output.value).collect())
    }

    /// The process dies and restarts: a new stage, restored from the changelog.
    pub fn crash(&mut self) {
        self.crash_restoring(self.changelog.clone());
    }

    /// As [`crash`](Self::crash), but restored from these changes of each partition, in order.
    pub fn crash_restoring(&mut self, changes: BTreeMap<u32, Vec<S::Change>>) {
        self.stage = (self.build)();
        let partitions: Vec<u32> = self.changelog.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.stage.assigned(partition));
        for (partition, mut changes) in changes {
            // In two parts, as a log gives them in batches.
            let rest = changes.split_off(changes.len() / 2);
            self.stage.restore(partition, changes);
            self.stage.restore(partition, rest);
        }
    }
}
