//! The simulated log as one process sees it, and reading outside of groups.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use topics::catalogue::{Layout, TopicSpec};
use topics::log::{
    Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionBatch, PartitionLag, Place, Reader, StartAt,
};

use super::broker::{Broker, index_of};
use super::member::SimMember;
use super::world::{Boundary, Fault, Process};

/// Most records in one batch of a reader.
const READ_RECORDS_MAX: usize = 50;

/// A process's way to the log.
pub struct SimLog {
    pub broker: Arc<Broker>,
    pub process: Process,
}

/// An error that passes.
pub fn unavailable(doing: &'static str) -> LogError {
    LogError::Unavailable { brokers: "simulated".into(), doing, source: "a fault was injected".into() }
}

impl SimLog {
    /// A step outside of a commit, which may fail.
    async fn ask(&self, doing: &'static str) -> Result<(), LogError> {
        let world = &self.broker.world;
        world.step(self.process).await;
        let passed = world.pass(self.process, Boundary::Asking, &[Fault::Passing, Fault::Crash]).await;
        passed.map_err(|_| unavailable(doing))
    }
}

#[async_trait]
impl Log for SimLog {
    fn layout(&self) -> Layout {
        self.broker.layout
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        self.ask("appending").await?;
        Ok(self.broker.append(records))
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        self.ask("joining a group").await?;
        Ok(Box::new(SimMember::join(Arc::clone(&self.broker), self.process, spec)))
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        self.ask("starting a reader").await?;
        let mut positions = BTreeMap::new();
        for &(partition, at) in from {
            let Bounds { start, end } = self.broker.partition(index_of(topic), partition, |kept| kept.bounds());
            let offset = match at {
                StartAt::Earliest => start,
                StartAt::Latest => end,
                StartAt::Offset(offset) if offset > end => {
                    let topic = topic.name.to_owned();
                    return Err(LogError::OffsetOutOfRange { topic, partition, offset, start, end });
                }
                StartAt::Offset(offset) => offset.max(start),
                StartAt::Time(time_ms) => self.offset_at(topic, partition, time_ms).await?,
            };
            positions.insert(partition, offset);
        }
        let (broker, process) = (Arc::clone(&self.broker), self.process);
        let starts = positions.clone();
        let reader = SimReader { broker, process, topic: index_of(topic), positions };
        let batches = stream::unfold(reader, |mut reader| async move { Some((Ok(reader.next().await), reader)) });
        Ok(Reader::new(starts, batches))
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        self.ask("looking up offsets").await?;
        Ok(self.broker.partition(index_of(topic), partition, |kept| kept.bounds()))
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        self.ask("looking up a time").await?;
        Ok(self.broker.partition(index_of(topic), partition, |kept| {
            let at_or_later = kept.read(0, usize::MAX).0.into_iter().find(|record| record.time_ms >= time_ms);
            at_or_later.map_or(kept.bounds().end, |record| record.offset)
        }))
    }

    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        self.ask("looking up a lag").await?;
        let known = self.broker.groups().into_iter().find(|(_, name, _)| name == group).map(|(at, _, _)| at);
        let row = |partition| {
            let committed = known.and_then(|at| self.broker.group(at, |group| group.committed(partition)));
            let Bounds { start, end } = self.broker.partition(index_of(topic), partition, |kept| kept.bounds());
            PartitionLag { partition, committed, end, records: end - committed.unwrap_or(start) }
        };
        Ok((0..self.broker.layout.partitions(topic)).map(row).collect())
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        self.ask("looking up members").await?;
        let known = self.broker.groups();
        let members = |(group, _): &(&str, _)| {
            let at = known.iter().find(|(_, name, _)| name == group).map(|(at, _, _)| *at);
            at.map_or(0, |at| self.broker.group(at, |group| group.members_present()))
        };
        Ok(groups.iter().map(members).collect())
    }

    async fn probe(&self) -> Result<(), LogError> {
        self.ask("asking whether it answers").await
    }
}

/// Reads partitions outside of groups, up to the first open transaction.
struct SimReader {
    broker: Arc<Broker>,
    process: Process,
    topic: usize,
    positions: BTreeMap<u32, u64>,
}

impl SimReader {
    async fn next(&mut self) -> PartitionBatch {
        self.broker.world.step(self.process).await;
        loop {
            let mut changed = pin!(self.broker.changed(self.topic).notified());
            changed.as_mut().enable();
            for (&partition, position) in &mut self.positions {
                let (records, next_offset) =
                    self.broker.partition(self.topic, partition, |kept| kept.read(*position, READ_RECORDS_MAX));
                if next_offset > *position {
                    *position = next_offset;
                    return PartitionBatch { partition, records, next_offset };
                }
            }
            changed.await;
        }
    }
}
