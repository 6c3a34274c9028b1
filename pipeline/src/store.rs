//! Which store is configured; opens it, and waits for its server when that is away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemas::causes::cause;
use schemas::setting::{Misfit, Section};
use serde::{Deserialize, Serialize};
use stages::repo::ServerConfig;
use stages::repo::mysql::MySqlStore;
use stages::repo::postgres::PostgresStore;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Class, Store, StoreError};
use tokio::time::{Instant, sleep};

use crate::absent::Absent;
use crate::config::Config;
use crate::database_url::{Database, DatabaseUrl};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`, `mysql://user:password@host:port/database` (MariaDB too) or
    /// `postgres://user:password@host:port/database`. Without: SQLite in `data_dir`.
    pub url: Option<DatabaseUrl>,
    /// Copies of a server's database that follow it, and may be read instead.
    pub replicas: Vec<DatabaseUrl>,
    /// How long a start waits for a database that is away, in seconds.
    pub wait_seconds: u64,
    /// Connections to servers, and their time limits.
    pub server: ServerConfig,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { url: None, replicas: Vec::new(), wait_seconds: 60, server: ServerConfig::default() }
    }
}

impl StoreSection {
    /// How long a start waits for a database that is away.
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }

    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`Misfit`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), Misfit> {
        const FORM: &str = "sqlite:PATH, mysql://user:password@host:port/database or postgres://… of the same form";
        let addresses =
            self.url.iter().map(|url| ("url", url)).chain(self.replicas.iter().map(|url| ("replicas", url)));
        for (key, url) in addresses {
            if let Some(must_be) = url.mistake() {
                return Err(section.misfit(key, url, must_be));
            }
        }
        let database = match &self.url {
            None => None,
            Some(url) => match url.database() {
                None => return Err(section.misfit("url", url, FORM)),
                known => known,
            },
        };
        let replica_form = match database {
            None | Some(Database::Sqlite(_)) => "absent: a file has no replicas",
            Some(Database::MySql) => "of the form mysql://user:password@host:port/database, as the primary",
            Some(Database::Postgres) => "of the form postgres://user:password@host:port/database, as the primary",
        };
        let fits = |replica: &DatabaseUrl| match replica.database() {
            None | Some(Database::Sqlite(_)) => false,
            known => known == database,
        };
        if let Some(replica) = self.replicas.iter().find(|replica| !fits(replica)) {
            return Err(section.misfit("replicas", replica, replica_form));
        }
        section.within("wait_seconds", self.wait_seconds, 0..=3_600)?;
        self.server.check(Section(&section.key("server")))
    }
}

/// A database that is away is looked for again after this time.
const NEXT_TRY: Duration = Duration::from_secs(3);

/// Opens it, and brings its tables up to date. A database that is away is waited for, up to
/// `repo.store.wait_seconds`.
///
/// # Errors
/// [`StoreError`] when it can't be reached or used.
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
    /// There is none.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// It can't be reached or used.
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

/// Opens what is there for a tool that reads: SQLite beside the process that writes it, or a server. Makes
/// and changes nothing, and does not wait.
///
/// # Errors
/// [`AttachError`] when it is not there, or can't be reached.
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

/// How many tasks of persist a process may have with profit. A file has one writer at a time: two tasks take
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
        Place::File(path) => Ok(SqliteStore::open(&path, SqliteConfig::default()).await?),
        Place::MySql(url) => Ok(MySqlStore::open(url.expose(), &replicas, server).await?),
        Place::Postgres(url) => Ok(PostgresStore::open(url.expose(), &replicas, server).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, replicas: &[&str]) -> Result<(), String> {
        let replicas = replicas.iter().map(|&url| url.to_owned().into()).collect();
        let section = StoreSection { url: Some(url.to_owned().into()), replicas, ..StoreSection::default() };
        section.check(Section("repo.store")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused_without_its_password() {
        let refusal = check("oracle://ann:secret@db/chat", &[]).unwrap_err();
        assert!(refusal.starts_with("repo.store.url is oracle://ann:***@db/chat"), "{refusal}");
        assert!(check("/var/lib/repo.db", &[]).is_err());
    }

    #[test]
    fn replicas_are_of_the_primary_s_kind() {
        assert_eq!(check("postgres://a@b/c", &["postgres://a@d/c", "postgresql://a@e/c"]), Ok(()));
        assert_eq!(check("mysql://a@b/c", &["mariadb://a@d/c"]), Ok(()));
        let refusal = check("postgres://a@b/c", &["mysql://a:secret@d/c"]).unwrap_err();
        assert!(refusal.starts_with("repo.store.replicas is mysql://a:***@d/c"), "{refusal}");
        assert!(check("sqlite:repo.db", &["sqlite:other.db"]).is_err());
    }
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
