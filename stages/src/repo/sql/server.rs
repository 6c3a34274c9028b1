//! How a database server is used.

use std::time::Duration;

use schemas::setting::{InvalidSetting, Section};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Database};

/// How a database server is used. Of two time limits the inner one ends first: the server's on a statement,
/// then ours on the call, then the guard's on behalf of who asked.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Connections that are kept open when nothing is to be done, to each server.
    pub connections_min: u32,
    /// Most connections, to each server. A quarter of them write, the others read; there is one of each at least.
    pub connections_max: u32,
    /// How long a call waits for a connection, making one included, before it fails as unavailable, in ms.
    pub acquire_timeout_ms: u64,
    /// How long a read may take in all, in ms. The server gives its statement up after four fifths of it.
    pub read_timeout_ms: u64,
    /// How long a transaction that writes may take in all, in ms: past it the server is taken for dead, and the
    /// connection closed.
    pub call_timeout_ms: u64,
    /// How long the server works on one statement of a transaction that writes, in ms.
    pub statement_timeout_ms: u64,
    /// How long a statement waits for a lock that another transaction holds, in ms; MySQL and MariaDB
    /// count whole seconds.
    pub lock_timeout_ms: u64,
    /// How long a read of a replica may take, before the primary is asked instead, in ms.
    pub replica_timeout_ms: u64,
    /// How long a replica that failed is left alone, in ms.
    pub replica_rest_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_min: 1,
            connections_max: 16,
            acquire_timeout_ms: 2_000,
            read_timeout_ms: 2_500,
            call_timeout_ms: 7_000,
            statement_timeout_ms: 6_000,
            lock_timeout_ms: 5_000,
            replica_timeout_ms: 500,
            replica_rest_ms: 5_000,
        }
    }
}

/// A connection that was idle for longer is pinged before it is used.
const IDLE_UNASKED_MAX: Duration = Duration::from_secs(1);
/// Connections are replaced after this time, so that a change of address takes effect.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);

impl ServerConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        const TIME_MS_MAX: u64 = 600_000;
        section.within("connections_max", self.connections_max, 1..=1_000)?;
        section.within("connections_min", self.connections_min, 0..=1_000)?;
        let (most, whole) = (("connections_max", self.connections_max), ("call_timeout_ms", self.call_timeout_ms));
        section.at_most(("connections_min", self.connections_min), most)?;
        section.within(whole.0, whole.1, 10..=TIME_MS_MAX)?;
        section.within("replica_rest_ms", self.replica_rest_ms, 10..=TIME_MS_MAX)?;
        let read = ("read_timeout_ms", self.read_timeout_ms);
        let statement = ("statement_timeout_ms", self.statement_timeout_ms);
        // What is a part of a call must end before the call is given up.
        let parts = [
            (read, whole),
            (("acquire_timeout_ms", self.acquire_timeout_ms), read),
            (("replica_timeout_ms", self.replica_timeout_ms), read),
            (statement, whole),
            (("lock_timeout_ms", self.lock_timeout_ms), statement),
        ];
        for (inner, outer) in parts {
            section.within(inner.0, inner.1, 10..=TIME_MS_MAX)?;
            section.at_most(inner, outer)?;
        }
        Ok(())
    }

    /// For tools, which read long pages and keep nobody waiting: a read has the time of a transaction.
    pub fn for_tools(&self) -> Self {
        Self { read_timeout_ms: self.call_timeout_ms, ..self.clone() }
    }

    pub fn call_times(&self) -> CallTimes {
        let (read, write) = (Duration::from_millis(self.read_timeout_ms), Duration::from_millis(self.call_timeout_ms));
        CallTimes { read, write }
    }

    /// How long the server works on one statement, in ms.
    pub fn statement_ms(&self, access: Access) -> u64 {
        match access {
            Access::ReadOnly => (self.read_timeout_ms / 5 * 4).max(1),
            Access::ReadWrite => self.statement_timeout_ms,
        }
    }

    /// Options of a pool of connections to one server.
    pub fn pool<DB: Database>(&self, access: Access) -> PoolOptions<DB> {
        let writers = (self.connections_max / 4).max(1);
        let connections_max = match access {
            Access::ReadOnly => self.connections_max.saturating_sub(writers).max(1),
            Access::ReadWrite => writers,
        };
        PoolOptions::new()
            .min_connections(self.connections_min.min(connections_max))
            .max_connections(connections_max)
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

/// How long bringing the tables up to date may take, waiting for another process to do it included.
pub const MIGRATION_TIME_MAX: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// How long calls may take, waiting for a connection included.
#[derive(Debug, Clone, Copy)]
pub struct CallTimes {
    pub read: Duration,
    /// For a transaction that writes.
    pub write: Duration,
}
