//! How a database server is used.

use std::time::Duration;

use schemas::setting::{Misfit, Section};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Database};

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
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`Misfit`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), Misfit> {
        const TIME_MS_MAX: u64 = 600_000;
        section.within("connections_max", self.connections_max, 1..=1_000)?;
        section.within("connections_min", self.connections_min, 0..=1_000)?;
        let (most, whole) = (("connections_max", self.connections_max), ("call_timeout_ms", self.call_timeout_ms));
        section.at_most(("connections_min", self.connections_min), most)?;
        section.within(whole.0, whole.1, 10..=TIME_MS_MAX)?;
        section.within("replica_rest_ms", self.replica_rest_ms, 10..=TIME_MS_MAX)?;
        let parts = [
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
            ("replica_timeout_ms", self.replica_timeout_ms),
        ];
        for (key, part) in parts {
            section.within(key, part, 10..=TIME_MS_MAX)?;
            // What is a part of a call must end before the call is given up.
            section.at_most((key, part), whole)?;
        }
        section.at_most(parts[2], parts[1])
    }

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

/// How long bringing the tables up to date may take, waiting for another process to do it included.
pub const MIGRATION_TIME_MAX: Duration = Duration::from_secs(5 * 60);
