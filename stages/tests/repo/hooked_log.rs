//! A real log around whose appends and searches a test does something.

use std::sync::Arc;

use async_trait::async_trait;
use topics::catalogue::{Layout, TopicSpec};
use topics::log::{Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt};

/// What a test does around the calls of a log.
#[async_trait]
pub trait Hook: Send + Sync + 'static {
    async fn before_append(&self) {}

    /// After an append, which is there whatever this says.
    fn appended(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// After somebody has asked where a partition ends.
    async fn end_is_known(&self) {}
}

pub struct HookedLog<H> {
    pub log: Arc<dyn Log>,
    pub hook: H,
}

#[async_trait]
impl<H: Hook> Log for HookedLog<H> {
    fn layout(&self) -> Layout {
        self.log.layout()
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        self.hook.before_append().await;
        let places = self.log.append(records).await?;
        self.hook.appended().map(|()| places)
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        self.log.join(spec).await
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        self.log.read(topic, from).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds(topic, partition).await?;
        self.hook.end_is_known().await;
        Ok(bounds)
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        self.log.offset_at(topic, partition, time_ms).await
    }

    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        self.log.lag(group, topic).await
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        self.log.members(groups).await
    }

    async fn probe(&self) -> Result<(), LogError> {
        self.log.probe().await
    }
}
