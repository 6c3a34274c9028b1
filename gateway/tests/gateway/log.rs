//! A log whose appends to `upstream-messages` can be held back or refused, and whose lag can be set.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use topics::catalogue::{Layout, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::log::{
    Bounds, Incoming, Log, LogError, Member, MemberSpec, Outgoing, PartitionBatch, PartitionLag, Place, Reader, StartAt,
};
use topics::partition::partition_of;

/// What happens to an append of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// Appends wait.
    Held,
    /// Appends fail.
    Refusing,
}

/// Passes everything on to a log, through a gate.
pub struct GatedLog {
    inner: Arc<dyn Log>,
    pub gate: watch::Sender<Gate>,
    pub lag_records: AtomicU64,
    pub upstream_appends: AtomicUsize,
}

impl GatedLog {
    pub fn new(inner: Arc<dyn Log>) -> Self {
        let (lag_records, upstream_appends) = Default::default();
        Self { inner, gate: watch::Sender::new(Gate::Open), lag_records, upstream_appends }
    }
}

#[async_trait]
impl Log for GatedLog {
    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        if records.first().is_some_and(|record| record.topic == &UPSTREAM.spec) {
            self.upstream_appends.fetch_add(1, Ordering::SeqCst);
            let mut gate = self.gate.subscribe();
            let gate = *gate.wait_for(|gate| *gate != Gate::Held).await.map_err(|_| LogError::Closed)?;
            if gate == Gate::Refusing {
                return Err(LogError::DiskFull { path: "/secret/place".into() });
            }
        }
        self.inner.append(records).await
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        self.inner.join(spec).await
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Box<dyn Reader>, LogError> {
        self.inner.read(topic, from).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        self.inner.bounds(topic, partition).await
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        self.inner.offset_at(topic, partition, time_ms).await
    }

    async fn lag(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        let records = self.lag_records.load(Ordering::SeqCst);
        Ok(vec![PartitionLag { partition: 0, committed: Some(0), end: records, records }])
    }
}

/// A log in memory: enough of one for the gateway, which joins no group.
pub struct MemoryLog {
    layout: Layout,
    clock: Clock,
    partitions: Arc<Mutex<HashMap<(&'static str, u32), Vec<Incoming>>>>,
    grown: watch::Sender<u64>,
}

impl MemoryLog {
    pub fn new(layout: Layout, clock: Clock) -> Self {
        Self { layout, clock, partitions: Arc::default(), grown: watch::Sender::new(0) }
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn layout(&self) -> Layout {
        self.layout
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        let mut places = Vec::new();
        let mut partitions = self.partitions.lock().unwrap();
        for Outgoing { topic, partition, key, value, headers } in records {
            let partition = partition.unwrap_or_else(|| partition_of(&key, self.layout.partitions(topic)));
            let held = partitions.entry((topic.name, partition)).or_default();
            let offset = held.len() as u64;
            held.push(Incoming { offset, time_ms: self.clock.now_ms(), key, value, headers });
            places.push(Place { partition, offset });
        }
        drop(partitions);
        self.grown.send_modify(|count| *count += 1);
        Ok(places)
    }

    async fn join(&self, _: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        Err(LogError::Closed)
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Box<dyn Reader>, LogError> {
        let mut positions = Vec::new();
        for (partition, start) in from {
            let end = self.bounds(topic, *partition).await?.end;
            let position = match start {
                StartAt::Earliest | StartAt::Time(_) => 0,
                StartAt::Latest => end,
                StartAt::Offset(offset) => *offset,
            };
            positions.push((*partition, position));
        }
        let grown = self.grown.subscribe();
        Ok(Box::new(MemoryReader { topic: topic.name, partitions: self.partitions.clone(), positions, grown }))
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        let end = self.partitions.lock().unwrap().get(&(topic.name, partition)).map_or(0, Vec::len) as u64;
        Ok(Bounds { start: 0, end })
    }

    async fn offset_at(&self, _: &'static TopicSpec, _: u32, _: i64) -> Result<u64, LogError> {
        Ok(0)
    }

    async fn lag(&self, _: &str, _: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        Ok(Vec::new())
    }
}

struct MemoryReader {
    topic: &'static str,
    partitions: Arc<Mutex<HashMap<(&'static str, u32), Vec<Incoming>>>>,
    positions: Vec<(u32, u64)>,
    grown: watch::Receiver<u64>,
}

impl MemoryReader {
    fn read(&mut self) -> Option<PartitionBatch> {
        let partitions = self.partitions.lock().unwrap();
        for (partition, position) in &mut self.positions {
            let held = partitions.get(&(self.topic, *partition));
            let records: Vec<_> = held.into_iter().flatten().skip(*position as usize).cloned().collect();
            if !records.is_empty() {
                *position += records.len() as u64;
                return Some(PartitionBatch { partition: *partition, records, next_offset: *position });
            }
        }
        None
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self, max_wait: Duration) -> Result<Option<PartitionBatch>, LogError> {
        let end = tokio::time::Instant::now() + max_wait;
        loop {
            self.grown.mark_unchanged();
            if let Some(batch) = self.read() {
                return Ok(Some(batch));
            }
            match tokio::time::timeout_at(end, self.grown.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(LogError::Closed),
                Err(_) => return Ok(None),
            }
        }
    }

    fn position(&self, partition: u32) -> Option<u64> {
        self.positions.iter().find(|(one, _)| *one == partition).map(|(_, position)| *position)
    }
}
