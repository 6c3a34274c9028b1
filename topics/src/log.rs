//! The log: partitioned, append-only topics with consumer groups and atomic commits.
//!
//! The interface between the chain and what keeps its records. [`crate::embedded`] keeps them on the
//! local disk, Kafka on a cluster; both pass the one contract suite in `tests/topics/contract/`.
//! Nothing above this module knows which of them runs.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::catalogue::{Layout, TopicSpec};
use crate::headers::Headers;

pub use crate::error::{Class, LogError};

/// The longest that [`Log::probe`] waits for an answer.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

/// A record to be appended.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub topic: &'static TopicSpec,
    /// To this partition; `None`: the key decides ([`crate::partition::partition_of`]).
    pub partition: Option<u32>,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Headers,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its place in the partition. Offsets rise; they need not be consecutive.
    pub offset: u64,
    /// When the log took it, ms since 1970 UTC (log-append time).
    pub time_ms: i64,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Headers,
}

/// Records of one partition, in order.
#[derive(Debug, Clone)]
pub struct PartitionBatch {
    pub partition: u32,
    /// The records. None only from a [`Reader`], and never from a [`Member`].
    pub records: Vec<Incoming>,
    /// The position behind the last of them: what to commit.
    pub next_offset: u64,
}

/// Where a record was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub partition: u32,
    pub offset: u64,
}

/// What a partition holds: offsets in `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest offset still kept.
    pub start: u64,
    /// The offset that the next record gets. Counts records of transactions that are still open.
    pub end: u64,
}

/// Where a [`Reader`] starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record kept.
    Earliest,
    /// Behind the newest: only what comes from now on.
    Latest,
    /// At this offset, or the next one kept.
    Offset(u64),
    /// At the first record with this log-append time or later, ms since 1970 UTC.
    Time(i64),
}

/// How far a consumer group is behind in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLag {
    pub partition: u32,
    /// The committed position, when there is one.
    pub committed: Option<u64>,
    /// The end of the partition.
    pub end: u64,
    /// Records between both; from the partition's start when nothing was committed.
    pub records: u64,
}

/// One member of a consumer group.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// The group: its members share the topic's partitions.
    pub group: String,
    pub topic: &'static TopicSpec,
    /// Stable name of this member in the group (static membership, KIP-345). A second member of the
    /// same name fences the first one.
    pub instance: String,
    /// Whether a commit is one transaction. Otherwise a commit may, after a crash, have left outputs
    /// without positions. (The embedded log is always atomic.)
    pub transactional: bool,
    /// Most records in one [`Event::Batch`], over all partitions.
    pub batch_records_max: usize,
    /// Most bytes of keys and values in one batch; one record may exceed it alone.
    pub batch_bytes_max: usize,
    /// A member that does not call [`Member::next`] or [`Member::commit`] for so long loses its
    /// partitions.
    pub poll_interval_max: Duration,
}

/// What happens to a member.
#[derive(Debug)]
pub enum Event {
    /// It got these partitions. Nothing of them comes until [`Member::start`]: the position was
    /// looked up first, so what the owner restores after this is never older than it.
    Assigned(Vec<Assigned>),
    /// These partitions are revoked with its next call of [`Member::next`]: positions can still be
    /// committed until then.
    Revoked(Vec<u32>),
    /// It lost these partitions; another may own them already. A commit would fail.
    Lost(Vec<u32>),
    /// Records of partitions that were started.
    Batch(Vec<PartitionBatch>),
}

/// A partition that a member got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    pub partition: u32,
    /// The group's committed position, when there is one. A cluster whose coordinator reports
    /// stale offsets may give an older one, or none: a changelog committed together with it knows better.
    pub committed: Option<u64>,
}

/// What a member commits at once: all of it is seen, or nothing.
#[derive(Debug, Default)]
pub struct Commit {
    /// Records to append, those of changelogs among them.
    pub outputs: Vec<Outgoing>,
    /// The next offset of each partition that was worked on.
    pub positions: Vec<(u32, u64)>,
}

/// Partitioned, append-only topics.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How many partitions the topics have here.
    fn layout(&self) -> Layout;

    /// Appends records and returns their places, in the order given, once all are as durable as
    /// their topics ask for. Records of one call and partition stay in order. All or nothing is NOT
    /// promised: after an error some may be there (a repeat is recognised further on).
    ///
    /// # Errors
    /// [`Class::Retry`] when the same call may succeed later.
    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError>;

    /// Joins a consumer group.
    ///
    /// # Errors
    /// When the topic does not exist, or the log can't be reached.
    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError>;

    /// Reads partitions of a topic outside of any group. Only committed records are seen.
    ///
    /// # Errors
    /// When a partition does not exist.
    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError>;

    /// What a partition holds.
    ///
    /// # Errors
    /// When it does not exist.
    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError>;

    /// The first offset with this log-append time or later (ms since 1970 UTC); the end when there
    /// is none.
    ///
    /// # Errors
    /// When the partition does not exist.
    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError>;

    /// How far a group is behind on a topic, a row a partition. A group that never was has committed
    /// nothing.
    ///
    /// # Errors
    /// When the topic does not exist.
    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError>;

    /// How many members each of these groups has, given with the topic that it reads. A member that crashed
    /// counts until its session times out.
    ///
    /// # Errors
    /// When the log can't be asked.
    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError>;

    /// Whether the log answers, and took what was last given to it. Asks once, and waits no longer than
    /// [`PROBE_TIME_MAX`].
    ///
    /// # Errors
    /// Why it does not.
    async fn probe(&self) -> Result<(), LogError>;
}

/// A member of a consumer group.
#[async_trait]
pub trait Member: Send {
    /// The next event. Waits until there is one. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// [`LogError::Fenced`] when another member of this name joined, [`LogError::Replaced`] when it is seen to be
    /// another process's; [`LogError::OffsetOutOfRange`] when records were dropped before they were read.
    async fn next(&mut self) -> Result<Event, LogError>;

    /// Starts, or moves, the reading of an assigned partition at an offset.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] when the offset is not kept any more, or beyond the end.
    async fn start(&mut self, partition: u32, offset: u64) -> Result<(), LogError>;

    /// Commits outputs and positions at once. After an error of class [`Class::Abort`] nothing of it
    /// is visible: the caller restores its state and starts its partitions again from
    /// [`committed`](Self::committed).
    ///
    /// # Errors
    /// [`LogError::Fenced`] when a partition is not this member's any more.
    async fn commit(&mut self, commit: Commit) -> Result<(), LogError>;

    /// The group's committed position of an assigned partition.
    ///
    /// # Errors
    /// When the log can't be reached.
    async fn committed(&mut self, partition: u32) -> Result<Option<u64>, LogError>;

    /// Leaves the group at once, so that others take over without waiting for a timeout.
    ///
    /// # Errors
    /// When the log can't be reached; the member leaves all the same.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// Reads partitions of one topic from given places on: an endless stream of batches.
///
/// A batch without records moves the position past what is never shown: records of aborted
/// transactions, and those that compaction removed. An error is an item:
/// [`LogError::OffsetOutOfRange`] when records were dropped before they were read. The stream
/// continues after an error of class [`Class::Retry`]; after another, open a new one at the
/// [`position`](Self::position). A wait that is given up loses nothing.
pub struct Reader {
    batches: BoxStream<'static, Result<PartitionBatch, LogError>>,
    positions: BTreeMap<u32, u64>,
}

impl Reader {
    /// For implementations of [`Log`]: where each partition starts, and the batches from there on.
    pub fn new(
        positions: impl IntoIterator<Item = (u32, u64)>,
        batches: impl Stream<Item = Result<PartitionBatch, LogError>> + Send + 'static,
    ) -> Self {
        Self { batches: batches.boxed(), positions: positions.into_iter().collect() }
    }

    /// The offset that the next record of a partition has at least. `None`: it is not read here.
    pub fn position(&self, partition: u32) -> Option<u64> {
        self.positions.get(&partition).copied()
    }

    /// The next batch; `None` when none comes within `max_wait`.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn next_within(&mut self, max_wait: Duration) -> Result<Option<PartitionBatch>, LogError> {
        tokio::time::timeout(max_wait, self.next()).await.ok().flatten().transpose()
    }
}

impl Stream for Reader {
    type Item = Result<PartitionBatch, LogError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.batches.poll_next_unpin(cx));
        if let Some(Ok(batch)) = &item {
            self.positions.insert(batch.partition, batch.next_offset);
        }
        Poll::Ready(item)
    }
}
