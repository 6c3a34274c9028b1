//! Opens the configured store, and waits for its server while that is down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemas::causes::cause;
use stages::repo::mysql::MySqlStore;
use stages::repo::postgres::PostgresStore;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Class, Store, StoreError};
use tokio::time::{Instant, sleep};

use crate::absent::Absent;
use crate::config::{Config, StoreSection};
use crate::database_url::{Database, DatabaseUrl};

/// A database that is down is tried again after this time.
const NEXT_TRY: Duration = Duration::from_secs(3);

/// Opens it and migrates its tables. Waits for a database that is down, for `repo.store.wait_seconds` at most.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let began = Instant::now();
    let deadline = began + config.repo.store.wait();
    let mut waits = false;
    loop {
        let error = match open_once(config).await {
            Ok(store) => {
                if waits {
                    let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(address = name(config), waited_ms, "the store answers");
                }
                return Ok(store);
            }
            Err(error) => error,
        };
        match error.class() {
            Class::Retry if Instant::now() + NEXT_TRY < deadline => {
                if !std::mem::replace(&mut waits, true) {
                    let (address, seconds_max) = (name(config), config.repo.store.wait_seconds);
                    tracing::warn!(
                        address,
                        cause = cause(&error),
                        seconds_max,
                        "the store does not answer yet: waiting for it"
                    );
                }
                sleep(NEXT_TRY).await;
            }
            Class::Retry | Class::Fatal | Class::Refused(_) => return Err(error),
        }
    }
}

/// How operators know it: its file, or its address without the password.
pub fn name(config: &Config) -> String {
    match Place::of(config) {
        Place::File(path) => path.display().to_string(),
        Place::MySql(url) | Place::Postgres(url) => url.to_string(),
    }
}

/// Where the copies of the store are, if there are any.
pub fn replicas(config: &Config) -> Option<String> {
    let names: Vec<_> = config.repo.store.replicas.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The file, where the store is one.
pub fn file(config: &Config) -> Option<PathBuf> {
    match Place::of(config) {
        Place::File(path) => Some(path),
        Place::MySql(_) | Place::Postgres(_) => None,
    }
}

/// A store that a tool can't look at.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Absent(#[from] Absent),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether there is a store, as far as that can be seen without asking a server.
pub fn is_there(config: &Config) -> bool {
    match Place::of(config) {
        Place::File(path) => path.exists(),
        Place::MySql(_) | Place::Postgres(_) => true,
    }
}

/// Opens an existing store for a tool that reads: SQLite, also while a process writes it, or a server. Creates and
/// changes nothing, and does not wait.
pub async fn attach(config: &Config) -> Result<Arc<dyn Store>, AttachError> {
    let server = &config.repo.store.server;
    match Place::of(config) {
        Place::File(path) if !path.exists() => {
            let dir = path.parent().map_or_else(|| config.data_dir.clone(), Path::to_path_buf);
            Err(Absent { what: "store", dir }.into())
        }
        Place::File(path) => Ok(SqliteStore::open_read_only(&path, SqliteConfig::default()).await?),
        Place::MySql(url) => Ok(MySqlStore::open_read_only(url.expose(), server).await?),
        Place::Postgres(url) => Ok(PostgresStore::open_read_only(url.expose(), server).await?),
    }
}

/// How many tasks of persist in one process make it faster. A file has one writer at a time: two tasks take
/// turns, and each message waits for a commit of the other besides its own. A server commits for several at
/// once.
pub fn persist_tasks_max(config: &Config) -> u16 {
    match Place::of(config) {
        Place::File(_) => 1,
        Place::MySql(_) | Place::Postgres(_) => u16::MAX,
    }
}

/// Where the database is.
enum Place<'c> {
    File(PathBuf),
    MySql(&'c DatabaseUrl),
    Postgres(&'c DatabaseUrl),
}

impl<'c> Place<'c> {
    fn of(config: &'c Config) -> Self {
        let Some(url) = &config.repo.store.url else { return Self::File(config.data_dir.join("repo.db")) };
        match url.database() {
            Some(Database::Sqlite(path)) => Self::File(path),
            // The check of the configuration has refused what is neither.
            Some(Database::MySql) | None => Self::MySql(url),
            Some(Database::Postgres) => Self::Postgres(url),
        }
    }
}

async fn open_once(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let StoreSection { replicas, server, .. } = &config.repo.store;
    let replicas: Vec<_> = replicas.iter().map(|replica| replica.expose().to_owned()).collect();
    match Place::of(config) {
        Place::File(path) => SqliteStore::open(&path, SqliteConfig::default()).await,
        Place::MySql(url) => MySqlStore::open(url.expose(), &replicas, server).await,
        Place::Postgres(url) => PostgresStore::open(url.expose(), &replicas, server).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persist_is_one_task_where_the_store_has_one_writer() {
        let of = |url: Option<&str>| {
            let mut config = Config::default();
            config.repo.store.url = url.map(|url| url.to_owned().into());
            persist_tasks_max(&config)
        };
        assert_eq!((of(None), of(Some("sqlite:other.db"))), (1, 1));
        assert!(of(Some("postgres://a@b/c")) > 1 && of(Some("mysql://a@b/c")) > 1);
    }
}
