//! Connections: to where is written, and to the copies that may be read instead.
//!
//! A replica is asked only for what can be shown to be current there (see
//! [`SqlStore`](super::SqlStore)), so its lag needs no measuring: it costs speed, never an answer. One
//! that fails, or does not answer in time, is left alone for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Gauge, Histogram};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Pool};
use tokio::time::Instant;
use topics::queue_metrics::{Bound, Entered};

use super::fault::Fault;
use super::server::ServerConfig;

/// Connections to one server, or one file, with metrics of those in use, their limit, the calls that wait for
/// one, and how long those waited.
#[derive(Debug)]
pub struct Connections<DB: Database> {
    pool: Pool<DB>,
    in_use: Bound,
    waiting: Gauge,
    waited: Histogram,
}

/// Counts a connection for as long as it is used.
pub type InUse = Entered;

impl<DB: Database> Connections<DB> {
    fn new(name: &'static str, pool: Pool<DB>) -> Self {
        Self {
            in_use: Bound::new(name, pool.options().get_max_connections() as usize),
            waiting: metrics::gauge!("gochat_store_waiting_calls", "pool" => name),
            waited: metrics::histogram!("gochat_store_connection_wait_seconds", "pool" => name),
            pool,
        }
    }

    /// How a connection is made.
    pub fn options(&self) -> Arc<<DB::Connection as Connection>::Options> {
        self.pool.connect_options()
    }

    /// A connection, once there is one.
    ///
    /// # Errors
    /// When it takes longer than the pool allows.
    pub async fn acquire(&self) -> Result<(PoolConnection<DB>, InUse), sqlx::Error> {
        let since = Instant::now();
        // Dropped when the caller does not wait any longer, too.
        let waiting = Waiting::of(&self.waiting);
        let acquired = self.pool.acquire().await;
        drop(waiting);
        self.waited.record(since.elapsed());
        Ok((acquired?, self.in_use.entered(1)))
    }
}

struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn of(calls: &'a Gauge) -> Self {
        calls.increment(1.0);
        Self(calls)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Where a store reads and writes.
#[derive(Debug)]
pub struct Pools<DB: Database> {
    pub writer: Arc<Connections<DB>>,
    /// To the primary too: reads see every commit.
    pub reader: Arc<Connections<DB>>,
    replicas: Vec<Replica<DB>>,
    /// The replica whose turn it is.
    next: AtomicUsize,
}

impl<DB: Database> Pools<DB> {
    /// The same connections for both; without replicas.
    pub fn shared(pool: Pool<DB>) -> Self {
        let connections = Arc::new(Connections::new("store-connections", pool));
        Self { writer: connections.clone(), reader: connections, replicas: Vec::new(), next: AtomicUsize::new(0) }
    }

    /// Connections that write, and others that read.
    pub fn apart(writer: Pool<DB>, reader: Pool<DB>) -> Self {
        Self {
            writer: Arc::new(Connections::new("store-writer-connections", writer)),
            reader: Arc::new(Connections::new("store-reader-connections", reader)),
            replicas: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }

    /// Reads from these copies too; each with its name, as operators know it.
    pub fn with_replicas(mut self, replicas: Vec<(String, Pool<DB>)>, config: &ServerConfig) -> Self {
        let replica = |(name, pool)| Replica {
            name,
            connections: Connections::new("store-replica-connections", pool),
            rests_until: Mutex::new(None),
            time_max: Duration::from_millis(config.replica_timeout_ms),
            rest: Duration::from_millis(config.replica_rest_ms),
        };
        self.replicas = replicas.into_iter().map(replica).collect();
        self
    }

    /// The next replica in turn that has not failed lately.
    pub fn replica(&self) -> Option<&Replica<DB>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        (0..count).map(|n| &self.replicas[(turn.wrapping_add(n)) % count]).find(|replica| replica.is_awake())
    }

    /// The copies that may be read.
    pub fn replicas(&self) -> &[Replica<DB>] {
        &self.replicas
    }

    /// Closes all connections once calls under way are done.
    pub async fn close(&self) {
        for replica in &self.replicas {
            replica.connections.pool.close().await;
        }
        self.reader.pool.close().await;
        self.writer.pool.close().await;
    }
}

/// A copy of the database that follows it.
#[derive(Debug)]
pub struct Replica<DB: Database> {
    /// Its address, as operators know it.
    pub name: String,
    /// Connections to it; metrics have those to all replicas together.
    pub connections: Connections<DB>,
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

    /// It answered: it is used again at once.
    pub fn answered(&self) {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// It failed: it is left alone for a while.
    pub fn failed(&self, fault: &Fault) {
        let until = Instant::now() + self.rest;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        // The health check reports that it is away.
        tracing::debug!(replica = self.name, ?fault, rest = ?self.rest, "the replica failed: the primary is read instead");
    }
}
