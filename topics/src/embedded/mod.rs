//! The log on the local disk: SQLite, a row a batch, one writer with group commit.
//!
//! Callers encode their records and queue them (`call`, `queue`); one thread writes all that waits in
//! one transaction, answers, and shows it to readers (`writer`, `plan`); readers at the end of a
//! partition are served from memory (`partition`), others from the database (`fetch`, `cursor`).
//! Groups are coordinated in the process (`group`, `member`). Threads of their own keep the
//! write-ahead log small (`checkpoint`) and drop or compact what is old (`upkeep`). The file is
//! described in `storage`, rows in `rows`, records in them in `batch`; `witness` notices that the file
//! has lost records, and `former` takes over a log of an earlier version.

mod background;
mod batch;
mod call;
mod checkpoint;
mod config;
mod cursor;
mod failure;
mod fetch;
mod follow;
mod former;
mod group;
mod lock;
mod member;
mod open;
mod partition;
mod plan;
mod queue;
mod reader;
mod rows;
mod shared;
mod storage;
mod thin;
mod topics;
mod upkeep;
mod witness;
mod work;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::background::{Background, Duties};
use self::call::{Limits, encode_call};
use self::fetch::Fetches;
use self::lock::locked;
use self::open::Opened;
use self::queue::Queue;
use self::shared::{Access, Shared};
use self::witness::Witness;
use self::work::Work;
use crate::catalogue::{Layout, TopicSpec};
use crate::clock::Clock;
use crate::log::{Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt};

pub use self::config::{CALL_BYTES_MAX, EmbeddedConfig};

/// The log on the local disk.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    background: Background,
}

impl EmbeddedLog {
    /// Opens the log in a directory, or makes one there, with every topic of the catalogue. Blocks
    /// for some milliseconds, however large the log is; longer once, for one of an earlier version.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process has it open, [`LogError::TopicDiffers`] or
    /// [`LogError::WindowDiffers`] when it was made otherwise, [`LogError::Unusable`] when the directory
    /// can't be a log.
    #[allow(clippy::needless_pass_by_value, reason = "configuration is handed over")]
    pub fn open(config: EmbeddedConfig, clock: Clock) -> Result<Arc<Self>, LogError> {
        let dir = config.dir.as_path();
        let lock = open::lock(dir)?;
        let mut db = storage::open_writer(dir, config.file_bytes_max)?;
        former::take_over(dir, &mut db)?;
        let damaged = |e| failure::naming_damage(&storage::path_of(dir), e);
        open::prepare(&mut db, config.layout).map_err(damaged)?;
        open::keep_window(&db, config.dedupe_window).map_err(damaged)?;
        let Opened { topics, groups } = open::load(&db, config.tail_bytes_max_per_partition).map_err(damaged)?;
        let witness = Witness::ask(dir, &db).map_err(damaged)?;
        let topics = Arc::new(topics);
        let queue = Arc::new(Queue::new(config.write_queue_bytes_max));
        let shared = Arc::new(Shared {
            layout: config.layout,
            dedupe_window: Some(config.dedupe_window),
            limits: Limits { record_bytes_max: config.record_bytes_max, call_bytes_max: config.call_bytes_max },
            topics: Arc::clone(&topics),
            fetches: Fetches::new(dir, config.read_connections_max),
            groups: Mutex::new(groups),
            access: Access::Write { dir: dir.to_owned(), queue: Arc::clone(&queue) },
            failing: Arc::default(),
            closed: AtomicBool::new(false),
        });
        let background = Background::write(&config, db, witness, &shared, queue, clock)?;
        background.keep(lock);
        Ok(Arc::new(Self { shared, background }))
    }

    /// Whether there is a log in a directory. Makes nothing.
    pub fn is_in(dir: &Path) -> bool {
        storage::path_of(dir).exists()
    }

    /// Opens the log in a directory for reading, beside the process that writes it or without one.
    /// What is written shows a little later. Whatever would change the log is refused.
    ///
    /// # Errors
    /// [`LogError::Unusable`] when there is no log.
    pub fn open_read_only(dir: impl Into<PathBuf>) -> Result<Arc<Self>, LogError> {
        let dir = dir.into();
        let db = storage::open_reader(&dir)?;
        let damaged = |e| failure::naming_damage(&storage::path_of(&dir), e);
        let Opened { topics, groups } = open::load(&db, 0).map_err(damaged)?;
        let shared = Arc::new(Shared {
            layout: open::layout(&db)?,
            dedupe_window: open::window(&db)?,
            limits: Limits { record_bytes_max: 0, call_bytes_max: 0 },
            topics: Arc::new(topics),
            fetches: Fetches::new(&dir, 1),
            groups: Mutex::new(groups),
            access: Access::Read { dir },
            failing: Arc::default(),
            closed: AtomicBool::new(false),
        });
        let background = Background::follow(db, &shared)?;
        Ok(Arc::new(Self { shared, background }))
    }

    /// The dedupe window that it was made for. `None`: it was made before that was recorded, and was not
    /// opened for writing since.
    pub fn dedupe_window(&self) -> Option<Duration> {
        self.shared.dedupe_window
    }

    /// Drops what is older than its topic keeps, and compacts what is due. Runs by itself every
    /// [`EmbeddedConfig::upkeep_interval`].
    ///
    /// # Errors
    /// Those of reading and writing; what was done stays done.
    pub async fn maintain(&self) -> Result<(), LogError> {
        let upkeep = match &self.background.duties {
            Duties::Write { upkeep, .. } => Arc::clone(upkeep),
            Duties::Follow(_) => return self.shared.queue().map(|_| ()),
        };
        let done = tokio::task::spawn_blocking(move || upkeep.do_due()).await;
        done.unwrap_or_else(|e| Err(LogError::Storage { doing: "upkeep", source: Box::new(e) }))
    }

    /// Writes what is queued, then unlocks the directory. Calls after this fail with
    /// [`LogError::Closed`].
    pub async fn close(self: Arc<Self>) {
        let closing = tokio::task::spawn_blocking(move || self.stop());
        if closing.await.is_err() {
            tracing::error!("the log's threads ended in a panic");
        }
    }

    fn stop(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        match &self.shared.access {
            Access::Write { queue, .. } => queue.close(),
            Access::Read { .. } => {}
        }
        self.background.stop();
        self.shared.topics.all().for_each(|topic| topic.changed.notify_waiters());
        locked(&self.shared.groups).values().for_each(|group| group.changed.notify_waiters());
    }
}

/// Writes what is queued: at most what the queue may hold.
impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn layout(&self) -> Layout {
        self.shared.layout
    }

    async fn append(&self, records: Vec<Outgoing>) -> Result<Vec<Place>, LogError> {
        let (topics, queue) = (&self.shared.topics, self.shared.queue()?);
        let call = encode_call(topics, self.shared.limits, &records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let partitions: Vec<u32> = call.chunks.iter().map(|chunk| topics.at(chunk.partition).index).collect();
        let (reply, answer) = oneshot::channel();
        queue.push(Work::Append(call.chunks, reply), call.bytes).await?;
        let bases = answer.await.unwrap_or(Err(LogError::Closed))?;
        let place = |(chunk, number): (u32, u32)| {
            let chunk = chunk as usize;
            Place { partition: partitions[chunk], offset: bases[chunk] + u64::from(number) }
        };
        Ok(call.slots.into_iter().map(place).collect())
    }

    async fn join(&self, spec: MemberSpec) -> Result<Box<dyn Member>, LogError> {
        self.shared.queue()?;
        Ok(Box::new(member::EmbeddedMember::join(Arc::clone(&self.shared), spec)?))
    }

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
        reader::open(Arc::clone(&self.shared), topic, from).await
    }

    async fn bounds(&self, topic: &'static TopicSpec, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.shared.topics.partition(topic, partition)?.bounds())
    }

    async fn offset_at(&self, topic: &'static TopicSpec, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        let partition = self.shared.topics.partition(topic, partition)?;
        self.shared.offset_at(partition, time_ms).await
    }

    async fn lag(&self, group: &str, topic: &'static TopicSpec) -> Result<Vec<PartitionLag>, LogError> {
        let partitions = self.shared.topics.of(topic)?.partitions;
        let known = locked(&self.shared.groups).get(&(group.to_owned(), topic.name)).map(Arc::clone);
        let committed = known.map(|group| group.committed()).unwrap_or_default();
        let mut lags = Vec::with_capacity(partitions as usize);
        for partition in 0..partitions {
            let Bounds { start, end } = self.shared.topics.partition(topic, partition)?.bounds();
            let committed = committed.get(partition as usize).copied().flatten();
            let records = end.saturating_sub(committed.unwrap_or(start).max(start));
            lags.push(PartitionLag { partition, committed, end, records });
        }
        Ok(lags)
    }

    async fn members(&self, groups: &[(&str, &'static TopicSpec)]) -> Result<Vec<usize>, LogError> {
        self.shared.check_open()?;
        let known = locked(&self.shared.groups);
        let count = |&(group, topic): &(&str, &'static TopicSpec)| {
            known.get(&(group.to_owned(), topic.name)).map_or(0, |group| group.members())
        };
        Ok(groups.iter().map(count).collect())
    }

    /// The writer says how its last transaction went. One that failed is followed by others: stages and
    /// the gateway's heartbeat try again.
    async fn probe(&self) -> Result<(), LogError> {
        self.shared.check_open()?;
        match (&*locked(&self.shared.failing), &self.shared.access) {
            (Some(failure), Access::Write { dir, .. }) => Err(failure.to_error(dir)),
            (Some(_) | None, Access::Write { .. } | Access::Read { .. }) => Ok(()),
        }
    }
}
