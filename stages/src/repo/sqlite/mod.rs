//! The store in one SQLite file: the default, with no service to install.
//!
//! One connection writes (SQLite has one writer at a time; waiting for it in a pool is fairer than
//! its busy handler), several read beside it in WAL mode. A commit is on disk when it returns
//! (`synchronous=FULL`).

mod batch;
mod messages;
mod removals;
mod values;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tokio::time::Instant;

use super::sql::SqlStore;
use super::sql::dialect::{Dialect, ErrorClass, explain};
use super::sql::fault::Fault;
use super::sql::migrations::migrator;
use super::sql::pools::Pools;
use super::sql::server::CallTimes;
use super::sql::session::Session;
use super::store::StoreError;

/// How the file is used.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteConfig {
    /// Connections that read.
    pub reader_connections: u32,
    /// How long a call waits for a connection before it fails as unavailable, in ms.
    pub acquire_timeout_ms: u64,
    /// How long SQLite waits for a lock that another process holds, in ms.
    pub busy_timeout_ms: u64,
    /// How long a call may take in all, in ms. A file answers at once, or its disk is full or broken: the guard answers
    /// whoever asked long before.
    pub call_timeout_ms: u64,
    /// Memory for pages, a connection, in KiB.
    pub page_cache_kib: u32,
    /// Pages of 4 KiB that the write-ahead log takes before they are moved into the file.
    pub wal_checkpoint_pages: u32,
    /// Pages of 4 KiB that the file may grow to; over it nothing is written, as on a full disk. `None`: the
    /// disk's.
    pub file_pages_max: Option<u32>,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            reader_connections: 4,
            acquire_timeout_ms: 5_000,
            busy_timeout_ms: 5_000,
            call_timeout_ms: 60_000,
            page_cache_kib: 32 * 1_024,
            wal_checkpoint_pages: 16_384,
            file_pages_max: None,
        }
    }
}

impl SqliteConfig {
    fn call_times(&self) -> CallTimes {
        let time = Duration::from_millis(self.call_timeout_ms);
        CallTimes { read: time, write: time }
    }

    /// How a connection that writes uses the file, which is made when it is not there.
    pub fn options(&self, path: &Path) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_millis(self.busy_timeout_ms))
            .foreign_keys(true)
            .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
            .pragma("cache_size", format!("-{}", self.page_cache_kib))
            .pragma("wal_autocheckpoint", self.wal_checkpoint_pages.to_string());
        match self.file_pages_max {
            Some(pages) => options.pragma("max_page_count", pages.to_string()),
            None => options,
        }
    }
}

/// Statements kept prepared, a connection: the multi-row ones in all sizes and all others.
const PREPARED_STATEMENTS_MAX: usize = 256;

/// A [`Store`](super::store::Store) in a SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqliteStore {
    /// Opens the file, makes it when it is not there, and brings its tables up to date. Several processes
    /// may do so at once.
    ///
    /// # Errors
    /// When the file cannot be opened, is no SQLite database or of a newer version.
    pub async fn open(path: &Path, config: SqliteConfig) -> Result<Arc<Self>, StoreError> {
        let name = path.display().to_string();
        let failed = |doing| {
            let name = name.clone();
            move |fault| explain::<Sqlite>(&name, doing, fault)
        };
        let options = config.options(&absolute(path)?);
        let deadline = Instant::now() + Duration::from_millis(config.busy_timeout_ms);
        while let Err(fault) = migrate(&options).await {
            if !is_locked(&fault) || Instant::now() >= deadline {
                return Err(failed("bring its tables up to date")(fault));
            }
            tokio::time::sleep(PAUSE_WHILE_LOCKED).await;
        }
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = pool(1).after_release(|connection, _| Box::pin(is_out_of_transactions(connection)));
        let writer: SqlitePool =
            writer.connect_with(options.clone()).await.map_err(Fault::Sql).map_err(failed("open"))?;
        let reader = pool(config.reader_connections.max(1)).connect_with(options.pragma("query_only", "on"));
        let reader = reader.await.map_err(Fault::Sql).map_err(failed("open for reading"))?;
        Ok(Self::new(name, Pools::apart(writer, reader), config.call_times()))
    }

    /// Opens a file that is there for reading, beside the process that writes it or without one. Whatever
    /// would change it fails; its tables are taken as they are.
    ///
    /// # Errors
    /// When the file is not there, or is no SQLite database.
    pub async fn open_read_only(path: &Path, config: SqliteConfig) -> Result<Arc<Self>, StoreError> {
        let name = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(absolute(path)?)
            .read_only(true)
            .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
            .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
            .pragma("cache_size", format!("-{}", config.page_cache_kib));
        let pool = SqlitePoolOptions::new()
            .max_connections(config.reader_connections.max(1))
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            .connect_with(options)
            .await
            .map_err(|error| explain::<Sqlite>(&name, "open for reading", error.into()))?;
        Ok(Self::new(name, Pools::shared(pool), config.call_times()))
    }
}

/// The absolute path: SQLite takes a name that begins with `file:` for a URI, and `:memory:` for no file.
/// <https://www.sqlite.org/uri.html>
fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| StoreError::Failed {
        store: name.clone(),
        doing: "use its path: name another file or directory",
        source: error.into(),
    };
    match path.to_str() {
        Some(_) => std::path::absolute(path).map_err(failed),
        None => {
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not UTF-8, which SQLite's files must be")))
        }
    }
}

/// Whether a connection can be reused. When SQLite itself rolls a transaction back, as on a full disk
/// (<https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>), sqlx still counts
/// it as open and could never begin another one.
async fn is_out_of_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Runs the rollback that a dropped transaction has queued.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Between two attempts to migrate a locked file.
const PAUSE_WHILE_LOCKED: Duration = Duration::from_millis(10);

/// Whether another process has the file locked. SQLite does not wait for it, whatever the busy timeout, where the
/// wait could last for ever: of two processes that make a new file and switch it to a write-ahead log at once, both
/// hold a lock that the other needs. <https://www.sqlite.org/c3ref/busy_handler.html>
fn is_locked(fault: &Fault) -> bool {
    let Fault::Sql(sqlx::Error::Database(error)) = fault else { return false };
    result_code(error.as_ref()).is_some_and(|code| code == BUSY || code == LOCKED)
}

/// In one transaction that locks the file from its start: one process migrates, the others wait for the lock and
/// find it done.
async fn migrate(options: &SqliteConnectOptions) -> Result<(), Fault> {
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin_with(Sqlite::BEGIN).await?;
    let session: &mut SqliteConnection = &mut transaction;
    migrator!("sqlite").run_direct(None, session, false).await.map_err(sqlx::Error::from)?;
    transaction.commit().await?;
    Ok(connection.close().await?)
}

impl Dialect for Sqlite {
    /// The lock for writing is taken at once: one taken later could not be waited for.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn session(connection: &mut SqliteConnection) -> Session<'_> {
        Session::Sqlite(connection)
    }

    fn class_of(error: &dyn DatabaseError) -> ErrorClass {
        let passes = result_code(error).is_some_and(|code| PASSING_RESULT_CODES.contains(&code));
        if passes { ErrorClass::RETRY } else { ErrorClass::Fatal }
    }
}

/// The primary result code. <https://www.sqlite.org/rescode.html>
fn result_code(error: &dyn DatabaseError) -> Option<i64> {
    let extended: i64 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

const BUSY: i64 = 5;
const LOCKED: i64 = 6;

/// Busy, locked, out of memory, interrupted, disk I/O, disk full, can't open: all may pass.
const PASSING_RESULT_CODES: [i64; 7] = [BUSY, LOCKED, 7, 9, 10, 13, 14];
