//! Connections: to where is written, and to the copies that may be read instead.
//!
//! A replica is asked only for what can be shown to be current there (see
//! [`SqlStore`](super::SqlStore)), so its lag needs no measuring: it costs speed, never an answer. One
//! that fails, or does not answer in time, is left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Database, Pool};
use tokio::time::Instant;

use super::Fault;

/// How a database server is used.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Connections that are kept open when nothing is to be done, to each server.
    pub connections_min: u32,
    /// Most connections, to each server.
    pub connections_max: u32,
    /// How long a call waits for a connection, making one included, before it fails as unavailable, in ms.
    pub acquire_timeout_ms: u64,
    /// How long the server works on one statement before it gives up, in ms.
    pub statement_timeout_ms: u64,
    /// How long a statement waits for a lock that another transaction holds, in ms; MySQL and MariaDB
    /// count whole seconds.
    pub lock_timeout_ms: u64,
    /// How long a call may take in all: past it the server is taken for dead, and the connection closed,
    /// in ms.
    pub call_timeout_ms: u64,
    /// The same for a call to a replica, before the primary is asked instead, in ms.
    pub replica_timeout_ms: u64,
    /// How long a replica that failed is left alone, in ms.
    pub replica_rest_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_min: 1,
            connections_max: 16,
            acquire_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms: 5_000,
            call_timeout_ms: 15_000,
            replica_timeout_ms: 500,
            replica_rest_ms: 5_000,
        }
    }
}

/// A connection that was idle for longer is asked whether it still works before it is used.
const IDLE_UNASKED_MAX: Duration = Duration::from_secs(1);
/// Connections are made anew after this time, so that a change of address is followed.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);

impl ServerConfig {
    /// The longest a call may take.
    pub fn call_time_max(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// Options of a pool of connections to one server.
    pub fn pool<DB: Database>(&self) -> PoolOptions<DB> {
        PoolOptions::new()
            .min_connections(self.connections_min.min(self.connections_max))
            .max_connections(self.connections_max.max(1))
            .acquire_timeout(Duration::from_millis(self.acquire_timeout_ms))
            .max_lifetime(CONNECTION_AGE_MAX)
            .test_before_acquire(false)
            .before_acquire(|connection: &mut DB::Connection, about| {
                Box::pin(async move {
                    if about.idle_for > IDLE_UNASKED_MAX {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
    }
}

/// Where a store reads and writes.
#[derive(Debug)]
pub struct Pools<DB: Database> {
    /// Where is written.
    pub writer: Pool<DB>,
    /// Where is read what must be the newest.
    pub reader: Pool<DB>,
    replicas: Vec<Replica<DB>>,
    /// Whose turn it is.
    next: AtomicUsize,
}

impl<DB: Database> Pools<DB> {
    /// Without replicas.
    pub fn new(writer: Pool<DB>, reader: Pool<DB>) -> Self {
        Self { writer, reader, replicas: Vec::new(), next: AtomicUsize::new(0) }
    }

    /// Reads from these copies too; each with its name, as operators know it.
    pub fn with_replicas(mut self, replicas: Vec<(String, Pool<DB>)>, config: &ServerConfig) -> Self {
        let replica = |(name, pool)| Replica {
            name,
            pool,
            rests_until: Mutex::new(None),
            time_max: Duration::from_millis(config.replica_timeout_ms),
            rest: Duration::from_millis(config.replica_rest_ms),
        };
        self.replicas = replicas.into_iter().map(replica).collect();
        self
    }

    /// The next replica in turn of those that do not rest.
    pub fn replica(&self) -> Option<&Replica<DB>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        (0..count).map(|n| &self.replicas[(turn.wrapping_add(n)) % count]).find(|replica| replica.is_awake())
    }

    /// Closes all connections once calls under way are done.
    pub async fn close(&self) {
        for replica in &self.replicas {
            replica.pool.close().await;
        }
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// A copy of the database that follows it.
#[derive(Debug)]
pub struct Replica<DB: Database> {
    name: String,
    /// Connections to it.
    pub pool: Pool<DB>,
    rests_until: Mutex<Option<Instant>>,
    /// The longest a call may take.
    pub time_max: Duration,
    rest: Duration,
}

impl<DB: Database> Replica<DB> {
    fn is_awake(&self) -> bool {
        let until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| Instant::now() >= until)
    }

    /// It answered: whether it had failed is forgotten.
    pub fn answered(&self) {
        let before = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).take();
        if before.is_some() {
            tracing::info!(replica = self.name, "the replica answers again");
        }
    }

    /// It failed: it is left alone for a while.
    pub fn failed(&self, fault: &Fault) {
        let until = Instant::now() + self.rest;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        tracing::warn!(replica = self.name, ?fault, rest = ?self.rest, "the replica failed: the primary is read instead");
    }
}
