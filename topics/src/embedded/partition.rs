//! One partition as the process sees it: its bounds, and its newest batches in memory.
//!
//! The tail is what the writer has just committed, so that whoever reads at the end never asks the
//! database. It is bounded in bytes; its oldest batches leave first.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::batch::Batch;
use super::lock::locked;
use crate::catalogue::{Cleanup, TopicSpec};
use crate::log::{Bounds, LogError};

/// Bytes of batches that one look into the tail takes along.
const LOOK_BYTES_MAX: usize = 1 << 20;

/// A partition of a topic.
#[derive(Debug)]
pub(super) struct Partition {
    /// Its number in the database.
    pub id: u32,
    pub topic: &'static TopicSpec,
    /// Its number in the topic.
    pub index: u32,
    tail_bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    last_time: i64,
    /// Up to here the partition was compacted, and offsets may be missing.
    compacted: u64,
    tail: VecDeque<Batch>,
    tail_bytes: usize,
}

/// What a partition has for whoever reads on at an offset.
#[derive(Debug)]
pub(super) enum Look {
    AtEnd,
    Tail(VecDeque<Batch>),
    /// The database has what lies between the offset and this one.
    OnDisk {
        /// Where the tail begins.
        until: u64,
    },
}

impl Partition {
    /// A partition with nothing in memory.
    pub fn new(id: u32, topic: &'static TopicSpec, index: u32, stored: Stored, tail_bytes_max: usize) -> Self {
        let Stored { bounds, last_time, compacted } = stored;
        let state = State { bounds, last_time, compacted, tail: VecDeque::new(), tail_bytes: 0 };
        Self { id, topic, index, tail_bytes_max, state: Mutex::new(state) }
    }

    /// Whether offsets are missing only below what was compacted.
    pub fn is_gapless(&self) -> bool {
        match self.topic.cleanup {
            Cleanup::Delete(_) => true,
            Cleanup::Compact => false,
        }
    }

    pub fn bounds(&self) -> Bounds {
        locked(&self.state).bounds
    }

    /// The offset that the next record gets, and the earliest time it may have.
    pub fn end(&self) -> (u64, i64) {
        let state = locked(&self.state);
        (state.bounds.end, state.last_time)
    }

    /// Up to where it was compacted.
    pub fn compacted(&self) -> u64 {
        locked(&self.state).compacted
    }

    /// Makes a committed batch visible.
    pub fn publish(&self, batch: Batch) {
        let mut state = locked(&self.state);
        state.bounds.end = batch.end();
        state.last_time = batch.last_time;
        state.tail_bytes += batch.body.len();
        state.tail.push_back(batch);
        while state.tail_bytes > self.tail_bytes_max {
            let Some(oldest) = state.tail.pop_front() else { break };
            state.tail_bytes -= oldest.body.len();
        }
    }

    /// What there is from `offset` on.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] when it was dropped.
    pub fn look(&self, offset: u64) -> Result<Look, LogError> {
        let state = locked(&self.state);
        if offset < state.bounds.start || offset > state.bounds.end {
            return Err(self.out_of_range(offset, state.bounds));
        }
        if offset == state.bounds.end {
            return Ok(Look::AtEnd);
        }
        let until = state.tail.front().map_or(state.bounds.end, |oldest| oldest.base);
        if offset < until {
            return Ok(Look::OnDisk { until });
        }
        let first = state.tail.partition_point(|batch| batch.end() <= offset);
        let mut bytes = 0;
        let batches = state.tail.range(first..).take_while(|batch| {
            let wanted = bytes < LOOK_BYTES_MAX;
            bytes += batch.body.len();
            wanted
        });
        Ok(Look::Tail(batches.cloned().collect()))
    }

    /// Checks that reading can start at an offset.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] when it was dropped, or is beyond the end.
    pub fn check(&self, offset: u64) -> Result<(), LogError> {
        let bounds = self.bounds();
        if (bounds.start..=bounds.end).contains(&offset) { Ok(()) } else { Err(self.out_of_range(offset, bounds)) }
    }

    /// Everything below was dropped.
    pub fn dropped_below(&self, offset: u64) {
        let mut state = locked(&self.state);
        state.bounds.start = offset;
        state.forget_below(offset);
    }

    /// Everything below was compacted: memory must not show what is gone.
    pub fn compacted_below(&self, offset: u64) {
        let mut state = locked(&self.state);
        state.compacted = offset;
        state.forget_below(offset);
    }

    /// Takes over what another process wrote, as `newer` has it.
    pub fn refresh(&self, newer: &Self) {
        let (bounds, last_time, compacted) = {
            let newer = locked(&newer.state);
            (newer.bounds, newer.last_time, newer.compacted)
        };
        let mut state = locked(&self.state);
        (state.bounds, state.last_time, state.compacted) = (bounds, last_time, compacted);
    }

    fn out_of_range(&self, offset: u64, Bounds { start, end }: Bounds) -> LogError {
        LogError::OffsetOutOfRange { topic: self.topic.name.into(), partition: self.index, offset, start, end }
    }
}

impl State {
    fn forget_below(&mut self, offset: u64) {
        while let Some(oldest) = self.tail.pop_front_if(|oldest| oldest.end() <= offset) {
            self.tail_bytes -= oldest.body.len();
        }
    }
}

/// What the database says of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub bounds: Bounds,
    /// Time of the newest record there ever was.
    pub last_time: i64,
    /// Up to where it was compacted.
    pub compacted: u64,
}
