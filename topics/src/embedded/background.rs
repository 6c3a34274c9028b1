//! The threads of an open log.

use std::fs::File;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::checkpoint::{self, Checkpoints};
use super::config::EmbeddedConfig;
use super::follow::Follower;
use super::lock::locked;
use super::queue::Queue;
use super::shared::Shared;
use super::storage;
use super::upkeep::Upkeep;
use super::witness::Witness;
use super::work::Work;
use super::writer::Writer;
use crate::clock::Clock;
use crate::log::LogError;

/// What runs beside the callers.
#[derive(Debug)]
pub(super) struct Background {
    pub duties: Duties,
    running: Mutex<Running>,
}

#[derive(Debug)]
pub(super) enum Duties {
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

impl Background {
    /// Starts the threads of the process that writes.
    ///
    /// # Errors
    /// When the file can't be opened or threads not be started.
    pub fn write(
        config: &EmbeddedConfig,
        db: Connection,
        witness: Witness,
        shared: &Arc<Shared>,
        queue: Arc<Queue<Work>>,
        clock: Clock,
    ) -> Result<Self, LogError> {
        let dir = config.dir.as_path();
        let topics = Arc::clone(&shared.topics);
        let checkpoints = Arc::new(Checkpoints::new(config.wal_bytes_target));
        let checkpointing = checkpoint::prepare(dir, Arc::clone(&checkpoints), Arc::clone(&queue))?;
        let read = storage::open_reader(dir)?;
        let (dirty_min, interval) = (config.compact_dirty_records_min, config.upkeep_interval);
        let upkeep = Arc::new(Upkeep::new(read, Arc::clone(&topics), Arc::clone(&queue), clock.clone(), dirty_min));
        let writer = Writer {
            dir: dir.to_owned(),
            db,
            witness,
            queue,
            topics,
            clock,
            checkpoints: Arc::clone(&checkpoints),
            failing: Arc::clone(&shared.failing),
            broken: None,
        };
        let upkeeping = Arc::clone(&upkeep);
        let background = Self { duties: Duties::Write { checkpoints, upkeep }, running: Mutex::default() };
        background.spawn("log-writer", move || writer.run())?;
        background.spawn("log-checkpoint", checkpointing)?;
        background.spawn("log-upkeep", move || upkeeping.run(interval))?;
        Ok(background)
    }

    /// Starts the thread of a process that reads along.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn follow(db: Connection, shared: &Arc<Shared>) -> Result<Self, LogError> {
        let (follower, shared) = (Arc::new(Follower::default()), Arc::clone(shared));
        let following = Arc::clone(&follower);
        let background = Self { duties: Duties::Follow(follower), running: Mutex::default() };
        background.spawn("log-follow", move || following.run(&db, &shared))?;
        Ok(background)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(body);
        let thread = thread.map_err(|e| LogError::Storage { doing: "starting a thread", source: Box::new(e) })?;
        locked(&self.running).threads.push(thread);
        Ok(())
    }

    /// Keeps the lock of the directory until the threads have ended.
    pub fn keep(&self, lock: File) {
        locked(&self.running).lock = Some(lock);
    }

    /// Waits for the threads, which end once the queue is closed and empty.
    pub fn stop(&self) {
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
