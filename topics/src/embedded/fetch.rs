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
use crate::catalogue::TopicSpec;
use crate::log::LogError;
use crate::queue_metrics::Bound;

#[derive(Debug, Clone)]
pub(super) struct Fetches(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    dir: PathBuf,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    /// Those that read, as a metric.
    reads: Bound,
}

impl Fetches {
    /// Up to so many connections; they are opened when they are needed.
    pub fn new(dir: &Path, connections_max: usize) -> Self {
        let connections_max = connections_max.max(1);
        let reads = Bound::new("log-read-connections", connections_max);
        let free = Arc::new(Semaphore::new(connections_max));
        Self(Arc::new(Pool { dir: dir.to_owned(), idle: Mutex::default(), free, reads }))
    }

    /// Reads batches of a topic's partition.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] or [`LogError::Storage`].
    pub async fn fetch(&self, topic: &TopicSpec, partition: u32, span: Span) -> Result<Vec<Batch>, LogError> {
        let fetched = self.run(move |db| rows::fetch(db, span)).await?;
        fetched.map_err(|e| self.naming(failure::of_fetching(topic.name, partition, e)))
    }

    /// Asks something of the database.
    ///
    /// # Errors
    /// [`LogError::Storage`].
    pub async fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let answer = self.run(move |db| question(db).map_err(FetchError::from)).await?;
        answer.map_err(|e| match e {
            FetchError::Storage(e) => self.naming(failure::of_reading(doing, e)),
            FetchError::Damaged { .. } | FetchError::Missing { .. } => unreachable!("only a fetch checks batches"),
        })
    }

    fn naming(&self, e: LogError) -> LogError {
        failure::naming_damage(&storage::path_of(&self.0.dir), e)
    }

    async fn run<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, FetchError> + Send + 'static,
    ) -> Result<Result<T, FetchError>, LogError> {
        let (pool, free) = (Arc::clone(&self.0), Arc::clone(&self.0.free));
        let blocking = move |permit| {
            // In this order: whoever gets the permit next is not counted beside this one.
            let _held = (pool.reads.entered(1), permit);
            let idle = locked(&pool.idle).pop();
            let db = match idle {
                Some(db) => db,
                None => storage::open_reader(&pool.dir)?,
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
