//! The topics of an open log and their partitions.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::partition::Partition;
use crate::catalogue::TopicSpec;
use crate::log::LogError;

/// Every topic and partition.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<&'static str, OpenTopic>,
    partitions: Vec<Arc<Partition>>,
}

#[derive(Debug)]
pub(super) struct OpenTopic {
    /// What the catalogue says of it.
    pub spec: &'static TopicSpec,
    /// How many partitions it has.
    pub partitions: u32,
    first: usize,
    /// Told after each commit to any of its partitions.
    pub changed: Arc<Notify>,
}

impl Topics {
    pub fn add(&mut self, spec: &'static TopicSpec, partitions: Vec<Partition>) {
        let topic = OpenTopic {
            spec,
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            first: self.partitions.len(),
            changed: Arc::default(),
        };
        self.by_name.insert(spec.name, topic);
        self.partitions.extend(partitions.into_iter().map(Arc::new));
    }

    /// The open topic.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`].
    pub fn of(&self, spec: &TopicSpec) -> Result<&OpenTopic, LogError> {
        self.by_name.get(spec.name).ok_or_else(|| LogError::NoSuchTopic { topic: spec.name.into() })
    }

    /// The number, among all partitions, of a topic's partition.
    ///
    /// # Errors
    /// [`LogError::NoSuchPartition`].
    pub fn index_of(&self, topic: &OpenTopic, partition: u32) -> Result<usize, LogError> {
        if partition >= topic.partitions {
            let (topic, partitions) = (topic.spec.name.into(), topic.partitions);
            return Err(LogError::NoSuchPartition { topic, partition, partitions });
        }
        Ok(topic.first + partition as usize)
    }

    /// A topic's partition.
    ///
    /// # Errors
    /// [`LogError::NoSuchTopic`] or [`LogError::NoSuchPartition`].
    pub fn partition(&self, spec: &TopicSpec, partition: u32) -> Result<&Arc<Partition>, LogError> {
        let index = self.index_of(self.of(spec)?, partition)?;
        Ok(&self.partitions[index])
    }

    /// The partition with this number among all.
    pub fn at(&self, index: usize) -> &Arc<Partition> {
        &self.partitions[index]
    }

    pub fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    /// How many partitions there are.
    pub fn partitions_len(&self) -> usize {
        self.partitions.len()
    }

    pub fn all(&self) -> impl Iterator<Item = &OpenTopic> {
        self.by_name.values()
    }

    /// Wakes who waits for records of a topic.
    pub fn wake(&self, spec: &TopicSpec) {
        if let Some(topic) = self.by_name.get(spec.name) {
            topic.changed.notify_waiters();
        }
    }
}
