//! The log on Apache Kafka.
//!
//! [`setup`] makes and checks the topics of the catalogue. [`append`] is one idempotent producer for
//! all callers. Each member of a group is a [`membership`] on a thread of its own, with a [`committer`]
//! that puts outputs and positions into one transaction; a [`reader`] belongs to no group. [`cluster`]
//! answers questions about bounds and positions.
//!
//! Needs brokers of 2.5 or later: a commit names the member and its generation (KIP-447), so that the
//! commit of a member that lost its partitions is refused. [`versions`] turns older ones away.

mod append;
mod blocking;
mod cluster;
mod committer;
mod config;
mod error;
mod events;
mod fetching;
mod member;
mod membership;
mod native;
mod ownership;
mod reader;
mod rebalance;
mod record;
mod replaced;
mod setup;
mod versions;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::append::Appender;
use self::blocking::blocking;
use self::cluster::{Cluster, Topic};
use self::member::KafkaMember;
use self::membership::Membership;
use crate::catalogue::{Layout, TopicSpec, UPSTREAM};
use crate::log::{Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt};

pub use self::config::{KafkaConfig, Security, Timeouts};
#[cfg(feature = "kafka-tls")]
pub use self::config::{Scram, Tls};

/// The topics of the catalogue on a Kafka cluster.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    appender: Appender,
}

impl KafkaLog {
    /// Waits until a broker answers, makes the topics that are missing, and checks the others.
    ///
    /// # Errors
    /// [`LogError::NoBroker`] when none answers in time, [`LogError::BrokerTooOld`] and
    /// [`LogError::Refused`] when one can't or won't serve this client, [`LogError::TopicDiffers`] when a
    /// topic is not as the catalogue has it, [`LogError::WindowDiffers`] when they were made for another
    /// dedupe window.
    pub async fn connect(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        let topics = setup::topics(&config).await?;
        Self::with(config, topics).await
    }

    /// Waits until a broker answers and takes the topics as they are there, whatever the layout and
    /// replicas of `config`: for tools, which make nothing.
    ///
    /// # Errors
    /// [`LogError::NoLog`] when there is none, and those of [`connect`](Self::connect).
    pub async fn attach(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        let (layout, dedupe_window, topics) = setup::existing(&config).await?;
        Self::with(KafkaConfig { layout, dedupe_window, ..config }, topics).await
    }

    /// The dedupe window that the topics were made for.
    pub fn dedupe_window(&self) -> Duration {
        self.cluster.config.dedupe_window
    }

    async fn with(config: KafkaConfig, topics: Vec<Topic>) -> Result<Arc<Self>, LogError> {
        let cluster = blocking(move || Cluster::new(config, topics)).await.map(Arc::new)?;
        let appender = Appender::new(Arc::clone(&cluster))?;
        Ok(Arc::new(Self { cluster, appender }))
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn layout(&self) -> Layout {
        self.cluster.config.layout
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        self.appender.append(&records).await
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        let (events, received) = mpsc::channel(1);
        let (cluster, of_member) = (Arc::clone(&self.cluster), spec.clone());
        let membership = blocking(move || Membership::join(cluster, of_member, events)).await?;
        Ok(Box::new(KafkaMember::start(spec, membership, received)?))
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        let topic = Arc::clone(self.cluster.topic(topic)?);
        let (cluster, from) = (Arc::clone(&self.cluster), from.to_vec());
        blocking(move || reader::open(cluster, topic, &from)).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        let topic = Arc::clone(self.cluster.topic(topic)?);
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.bounds(&topic, partition)).await
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        let topic = Arc::clone(self.cluster.topic(topic)?);
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.offset_at(&topic, partition, time_ms)).await
    }

    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        let topic = Arc::clone(self.cluster.topic(topic)?);
        let (cluster, group) = (Arc::clone(&self.cluster), group.to_owned());
        blocking(move || {
            let positions = cluster.positions(&group, &topic)?;
            let row = |(partition, committed): (u32, Option<u64>)| {
                let Bounds { start, end } = cluster.bounds(&topic, partition)?;
                let records = end.saturating_sub(committed.unwrap_or(start).max(start));
                Ok(PartitionLag { partition, committed, end, records })
            };
            (0..topic.partitions).zip(positions).map(row).collect()
        })
        .await
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        let groups: Vec<String> = groups.iter().map(|(group, _)| (*group).to_owned()).collect();
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.member_counts(&groups)).await
    }

    async fn probe(&self) -> Result<(), LogError> {
        let topic = Arc::clone(self.cluster.topic(&UPSTREAM.spec)?);
        let cluster = Arc::clone(&self.cluster);
        blocking(move || cluster.probe(&topic)).await?;
        self.appender.took_the_last()
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.cluster.config).finish_non_exhaustive()
    }
}
