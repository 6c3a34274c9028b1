//! A log whose appends to `upstream-messages` can be held back or refused, and whose lag can be set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::watch;
use topics::catalogue::{Layout, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt};

/// What happens to an append of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    Held,
    Refusing,
}

/// Passes everything on to an embedded log, through a gate.
pub struct GatedLog {
    inner: Arc<EmbeddedLog>,
    _dir: TempDir,
    pub gate: watch::Sender<Gate>,
    pub lag_records: AtomicU64,
    /// Of every other group.
    pub earlier_lag_records: AtomicU64,
    pub upstream_appends: AtomicUsize,
}

impl GatedLog {
    pub fn new(layout: Layout, clock: Clock) -> Self {
        let dir = TempDir::new().unwrap();
        let inner = EmbeddedLog::open(EmbeddedConfig::new(dir.path(), layout), clock).unwrap();
        let (lag_records, earlier_lag_records, upstream_appends) = Default::default();
        let gate = watch::Sender::new(Gate::Open);
        Self { inner, _dir: dir, gate, lag_records, earlier_lag_records, upstream_appends }
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

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        self.inner.read(topic, from).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        self.inner.bounds(topic, partition).await
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        self.inner.offset_at(topic, partition, time_ms).await
    }

    async fn lag(&self, group: &str, _: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        let records = if group == "persist" { &self.lag_records } else { &self.earlier_lag_records };
        let records = records.load(Ordering::SeqCst);
        Ok(vec![PartitionLag { partition: 0, committed: Some(0), end: records, records }])
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        self.inner.members(groups).await
    }

    async fn probe(&self) -> Result<(), LogError> {
        self.inner.probe().await
    }
}
