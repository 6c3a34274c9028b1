//! Reads of the database, on a few read-only connections, off the async threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::batch::Batch;
use super::failure;
use super::lock::locked;
use super::rows::{self, FetchError, Span};
use super::storage;
use crate::catalogue::{Durability, TopicSpec};
use crate::log::LogError;
use crate::queue_metrics::Bound;

#[derive(Debug, Clone)]
pub(super) struct Fetches {
    synced: Arc<Pool>,
    unsynced: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    dir: PathBuf,
    durability: Durability,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    /// Those that read, as a metric.
    reads: Bound,
}

impl Fetches {
    /// Up to so many connections to each file; they are opened when they are needed.
    pub fn new(dir: &Path, connections_max: usize) -> Self {
        let pool = |durability| {
            let (dir, idle, connections_max) = (dir.to_owned(), Mutex::default(), connections_max.max(1));
            let reads = Bound::new("log-read-connections", connections_max);
            Arc::new(Pool { dir, durability, idle, free: Arc::new(Semaphore::new(connections_max)), reads })
        };
        Self { synced: pool(Durability::Synced), unsynced: pool(Durability::Unsynced) }
    }

    /// Reads batches of a topic's partition.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Storage`].
    pub async fn fetch(&self, topic: &TopicSpec, partition: u32, span: Span) -> Result<Vec<Batch>, LogError> {
        let fetched = self.run(topic.durability, move |db| rows::fetch(db, span)).await?;
        fetched.map_err(|e| self.naming(topic.durability, failure::of_fetching(topic.name, partition, e)))
    }

    /// Asks something of the file of this durability.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub async fn ask<T: Send + 'static>(
        &self,
        durability: Durability,
        doing: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let answer = self.run(durability, move |db| question(db).map_err(FetchError::from)).await?;
        answer.map_err(|e| match e {
            FetchError::Storage(e) => self.naming(durability, failure::of_reading(doing, e)),
            FetchError::Damaged { .. } | FetchError::Missing { .. } => unreachable!("only a fetch checks batches"),
        })
    }

    fn naming(&self, durability: Durability, e: LogError) -> LogError {
        failure::naming_damage(&storage::path_of(&self.synced.dir, durability), e)
    }

    async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        question: impl FnOnce(&Connection) -> Result<T, FetchError> + Send + 'static,
    ) -> Result<Result<T, FetchError>, LogError> {
        let pool = match durability {
            Durability::Synced => &self.synced,
            Durability::Unsynced => &self.unsynced,
        };
        let (pool, free) = (Arc::clone(pool), Arc::clone(&pool.free));
        let blocking = move |permit| {
            // In this order: whoever gets the permit next is not counted beside this one.
            let _held = (pool.reads.entered(1), permit);
            let idle = locked(&pool.idle).pop();
            let db = match idle {
                Some(db) => db,
                None => storage::open_reader(&pool.dir, pool.durability)?,
            };
            let answer = question(&db);
            locked(&pool.idle).push(db);
            Ok(answer)
        };
        // In a task of its own: a stream that is not polled must not hold a permit.
        let read = tokio::spawn(async move {
            let permit = free.acquire_owned().await.map_err(|_| LogError::Closed)?;
            let read = tokio::task::spawn_blocking(move || blocking(permit)).await;
            read.unwrap_or_else(|e| Err(in_background(e)))
        });
        read.await.unwrap_or_else(|e| Err(in_background(e)))
    }
}

fn in_background(e: tokio::task::JoinError) -> LogError {
    LogError::Storage { doing: "reading in the background", source: Box::new(e) }
}
