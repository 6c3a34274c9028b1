//! The log on the local disk: SQLite, a row a batch, one writer with group commit.
//!
//! Callers encode their records and queue them (`call`, `queue`); one thread writes all that waits in
//! one transaction, answers, and shows it to readers (`writer`, `plan`); readers at the end of a
//! partition are served from memory (`partition`), others from the database (`fetch`, `cursor`).
//! Groups are coordinated in the process (`group`, `member`). Threads of their own keep the
//! write-ahead logs small (`checkpoint`) and drop or compact what is old (`upkeep`). The files and
//! what survives what are described in `storage`.

mod batch;
mod call;
mod checkpoint;
mod cursor;
mod failure;
mod fetch;
mod follow;
mod group;
mod member;
mod open;
mod partition;
mod plan;
mod queue;
mod reader;
mod storage;
mod thin;
mod topics;
mod upkeep;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::call::{Limits, encode_call};
use self::checkpoint::Checkpoints;
use self::fetch::Fetches;
use self::follow::Follower;
use self::group::Group;
use self::open::{Files, Groups, Opened};
use self::partition::Partition;
use self::queue::Queue;
use self::topics::Topics;
use self::upkeep::Upkeep;
use self::writer::{Work, Writer};
use crate::catalogue::{Durability, Layout, TopicSpec};
use crate::clock::Clock;
use crate::log::{Bounds, Log, LogError, Member, MemberSpec, Outgoing, PartitionLag, Place, Reader, StartAt};

/// How an embedded log is kept.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Its directory, for nothing else. Made when it is not there.
    pub dir: PathBuf,
    /// How many partitions topics have; fixed when the log is made.
    pub layout: Layout,
    /// Largest record: key, value and free headers.
    pub record_bytes_max: usize,
    /// Most bytes of records in one append or commit.
    pub call_bytes_max: usize,
    /// Bytes that may wait for the writer; over it callers wait.
    pub write_queue_bytes_max: usize,
    /// Bytes of newest records kept in memory, for each partition.
    pub tail_bytes_max_per_partition: usize,
    /// Connections for readers that are behind, for each of the two files.
    pub read_connections_max: usize,
    /// Size that each of the two files may grow to; over it [`LogError::DiskFull`]. `None`: the disk's.
    pub file_bytes_max: Option<u64>,
    /// The write-ahead log is copied into the database after about so many bytes.
    pub wal_bytes_target: usize,
    /// How often retention and compaction look for work.
    pub upkeep_interval: Duration,
    /// A partition is compacted once so many records are new, and they are at least half of all.
    pub compact_dirty_records_min: u64,
}

impl EmbeddedConfig {
    /// The defaults.
    pub fn new(dir: impl Into<PathBuf>, layout: Layout) -> Self {
        Self {
            dir: dir.into(),
            layout,
            record_bytes_max: 1 << 20,
            call_bytes_max: 16 << 20,
            write_queue_bytes_max: 64 << 20,
            tail_bytes_max_per_partition: 1 << 20,
            read_connections_max: 2,
            file_bytes_max: None,
            wal_bytes_target: 16 << 20,
            upkeep_interval: Duration::from_secs(10),
            compact_dirty_records_min: 10_000,
        }
    }
}

/// The log on the local disk.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    background: Background,
}

/// What members and readers need of the log.
#[derive(Debug)]
struct Shared {
    layout: Layout,
    limits: Limits,
    topics: Arc<Topics>,
    fetches: Fetches,
    groups: Mutex<Groups>,
    access: Access,
    closed: AtomicBool,
}

/// What may be done with the log.
#[derive(Debug)]
enum Access {
    /// Everything, by way of the writer.
    Write(Arc<Queue<Work>>),
    /// Reading; another process may write.
    Read {
        /// For errors.
        dir: PathBuf,
    },
}

/// What runs beside the callers.
#[derive(Debug)]
struct Background {
    duties: Duties,
    running: Mutex<Running>,
}

#[derive(Debug)]
enum Duties {
    /// Of the process that writes.
    Write { checkpoints: Arc<Checkpoints>, upkeep: Arc<Upkeep> },
    /// Of a process that reads along.
    Follow(Arc<Follower>),
}

#[derive(Debug, Default)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    /// Released when the threads have ended.
    lock: Option<File>,
}

impl EmbeddedLog {
    /// Opens the log in a directory, or makes one there, with every topic of the catalogue. Blocks
    /// for some milliseconds, however large the log is.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process has it open, [`LogError::TopicDiffers`] when it was
    /// made with another layout, [`LogError::Unusable`] when the directory can't be a log.
    pub fn open(config: EmbeddedConfig, clock: Clock) -> Result<Arc<Self>, LogError> {
        let dir = config.dir.as_path();
        let lock = open::lock(dir)?;
        let mut files = Files {
            synced: storage::open_writer(dir, Durability::Synced, config.file_bytes_max)?,
            unsynced: storage::open_writer(dir, Durability::Unsynced, config.file_bytes_max)?,
        };
        open::prepare(&mut files, config.layout)?;
        let Opened { topics, groups, last_txn } = open::load(&files, config.tail_bytes_max_per_partition)?;
        let topics = Arc::new(topics);
        let queue = Arc::new(Queue::new(config.write_queue_bytes_max));
        let shared = Arc::new(Shared {
            layout: config.layout,
            limits: Limits { record_bytes_max: config.record_bytes_max, call_bytes_max: config.call_bytes_max },
            topics: Arc::clone(&topics),
            fetches: Fetches::new(dir, config.read_connections_max),
            groups: Mutex::new(groups),
            access: Access::Write(Arc::clone(&queue)),
            closed: AtomicBool::new(false),
        });
        let background = Background::write(&config, files, last_txn, &shared, queue, clock)?;
        locked(&background.running).lock = Some(lock);
        Ok(Arc::new(Self { shared, background }))
    }

    /// Opens the log in a directory for reading, beside the process that writes it or without one.
    /// What is written shows a little later. Whatever would change the log is refused.
    ///
    /// # Errors
    /// [`LogError::Unusable`] when there is no log.
    pub fn open_read_only(dir: impl Into<PathBuf>) -> Result<Arc<Self>, LogError> {
        let dir = dir.into();
        let files = Files {
            synced: storage::open_reader(&dir, Durability::Synced)?,
            unsynced: storage::open_reader(&dir, Durability::Unsynced)?,
        };
        let Opened { topics, groups, .. } = open::load(&files, 0)?;
        let shared = Arc::new(Shared {
            layout: open::layout(&files)?,
            limits: Limits { record_bytes_max: 0, call_bytes_max: 0 },
            topics: Arc::new(topics),
            fetches: Fetches::new(&dir, 1),
            groups: Mutex::new(groups),
            access: Access::Read { dir },
            closed: AtomicBool::new(false),
        });
        let background = Background::follow(files, &shared)?;
        Ok(Arc::new(Self { shared, background }))
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

    /// Writes what is queued, then lets go of the directory. Calls after this fail with
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
            Access::Write(queue) => queue.close(),
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

impl Background {
    fn write(
        config: &EmbeddedConfig,
        files: Files,
        txn: i64,
        shared: &Arc<Shared>,
        queue: Arc<Queue<Work>>,
        clock: Clock,
    ) -> Result<Self, LogError> {
        let dir = config.dir.as_path();
        let topics = Arc::clone(&shared.topics);
        let checkpoints = Arc::new(Checkpoints::new(config.wal_bytes_target));
        let checkpointing = checkpoint::prepare(dir, Arc::clone(&checkpoints), Arc::clone(&queue))?;
        let read = |durability| storage::open_reader(dir, durability);
        let read = (read(Durability::Synced)?, read(Durability::Unsynced)?);
        let (dirty_min, interval) = (config.compact_dirty_records_min, config.upkeep_interval);
        let upkeep = Arc::new(Upkeep::new(read, Arc::clone(&topics), Arc::clone(&queue), clock.clone(), dirty_min));
        let writer = Writer {
            dir: dir.to_owned(),
            synced: files.synced,
            unsynced: files.unsynced,
            queue,
            topics,
            clock,
            checkpoints: Arc::clone(&checkpoints),
            txn,
            leftovers: Vec::new(),
            broken: None,
        };
        let upkeeping = Arc::clone(&upkeep);
        let background = Self { duties: Duties::Write { checkpoints, upkeep }, running: Mutex::default() };
        background.spawn("log-writer", move || writer.run())?;
        background.spawn("log-checkpoint", checkpointing)?;
        background.spawn("log-upkeep", move || upkeeping.run(interval))?;
        Ok(background)
    }

    fn follow(files: Files, shared: &Arc<Shared>) -> Result<Self, LogError> {
        let (follower, shared) = (Arc::new(Follower::default()), Arc::clone(shared));
        let following = Arc::clone(&follower);
        let background = Self { duties: Duties::Follow(follower), running: Mutex::default() };
        background.spawn("log-follow", move || following.run(&files, &shared))?;
        Ok(background)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(body);
        let thread = thread.map_err(|e| LogError::Storage { doing: "starting a thread", source: Box::new(e) })?;
        locked(&self.running).threads.push(thread);
        Ok(())
    }

    /// Waits for the threads, which end once the queue is closed and empty.
    fn stop(&self) {
        match &self.duties {
            Duties::Write { checkpoints, upkeep } => {
                checkpoints.close();
                upkeep.close();
            }
            Duties::Follow(follower) => follower.close(),
        }
        let mut running = locked(&self.running);
        for thread in running.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log ended in a panic");
            }
        }
        running.lock = None;
    }
}

impl Shared {
    fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::SeqCst) { Err(LogError::Closed) } else { Ok(()) }
    }

    fn queue(&self) -> Result<&Queue<Work>, LogError> {
        match &self.access {
            Access::Write(queue) => Ok(queue),
            Access::Read { dir } => Err(LogError::Unusable {
                path: dir.display().to_string(),
                reason: "it was opened for reading only: changes go through the process that writes it".into(),
            }),
        }
    }

    fn group(&self, name: &str, topic: &'static TopicSpec) -> Result<Arc<Group>, LogError> {
        let partitions = self.topics.of(topic)?.partitions as usize;
        let mut groups = locked(&self.groups);
        let group = groups
            .entry((name.to_owned(), topic.name))
            .or_insert_with(|| Arc::new(Group::new(name.to_owned(), topic, vec![None; partitions])));
        Ok(Arc::clone(group))
    }

    /// The first offset with this time or later. Times never fall within a partition, so halving the
    /// offsets finds the batch.
    async fn offset_at(&self, partition: &Arc<Partition>, time_ms: i64) -> Result<u64, LogError> {
        let (id, Bounds { start, end }) = (partition.id, partition.bounds());
        let find = move |db: &rusqlite::Connection| -> rusqlite::Result<u64> {
            let (mut low, mut high) = (start, end);
            while low < high {
                let middle = low + (high - low) / 2;
                match storage::at_or_below(db, id, middle)? {
                    Some(batch) if batch.last_time >= time_ms => high = batch.base.max(low),
                    Some(batch) => low = batch.end.max(middle + 1),
                    None => low = middle + 1,
                }
            }
            Ok(low)
        };
        let low = self.fetches.ask(partition.topic.durability, "looking for a time", find).await?;
        self.first_at(partition, low, end, time_ms).await
    }

    /// In the batch that holds `offset`, or the next one, the first record with this time or later.
    async fn first_at(&self, partition: &Arc<Partition>, offset: u64, end: u64, time_ms: i64) -> Result<u64, LogError> {
        let mut cursor = cursor::Cursor::new(Arc::clone(partition), offset);
        let allowance = cursor::Allowance { records: 1, bytes: usize::MAX, one_at_least: true };
        let mut record = Vec::new();
        while cursor.position() < end && cursor.fill(&self.fetches).await? {
            record.clear();
            cursor.take(allowance, &mut record)?;
            if let Some(record) = record.first().filter(|record| record.time_ms >= time_ms) {
                return Ok(record.offset);
            }
        }
        Ok(end)
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

    async fn read(&self, topic: &'static TopicSpec, from: &[(u32, StartAt)]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(reader::EmbeddedReader::open(Arc::clone(&self.shared), topic, from).await?))
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
}

/// Locks. What a panic in another thread left is consistent: no lock here is held across a step that
/// can fail half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
