//! What a benchmark runs on: a log, a store and topics of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scratch::Scratch;
use stages::repo::store::Store;
use topics::clock::Clock;

use super::CommandError;
use pipeline::config::{Config, LogKind};
use pipeline::database_url::DatabaseUrl;
use pipeline::store;

/// Where a benchmark's log is.
#[derive(Debug, Clone, Copy)]
pub struct BenchedLog<'a> {
    pub kind: LogKind,
    /// The brokers, when it is Kafka.
    pub brokers: &'a str,
    /// Partitions of the chain topics.
    pub partitions: u32,
}

/// Gateways that there can be.
pub const BENCHED_SLOTS: u32 = 2;

impl BenchedLog<'_> {
    /// The defaults, with data in `dir`, and topics and groups that no other run shares.
    pub fn config(&self, dir: &Path) -> Config {
        let part = dir.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
        let prefix = format!("bench-{}-{part}-", Clock::system().now_ms());
        let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
        config.log.chain_partitions = self.partitions;
        config.log.gateway_slots = BENCHED_SLOTS;
        config.log.kind = self.kind;
        self.brokers.clone_into(&mut config.log.kafka.brokers);
        config.log.kafka.topic_prefix.clone_from(&prefix);
        config.log.kafka.group_prefix = prefix;
        config
    }

    pub fn described(&self) -> &'static str {
        match self.kind {
            LogKind::Embedded => "embedded, SQLite, WAL, an fsync before each acknowledgement",
            LogKind::Kafka => "Kafka, one replica, acks=all, transactions; the broker flushes as it is set to",
        }
    }
}

/// Where a benchmark's store is; gone with this value.
#[derive(Debug)]
pub enum BenchedStore {
    /// In this file of the benchmark's own directory.
    File(PathBuf),
    /// In a database of its own on a server.
    Server(Box<Scratch>),
}

impl BenchedStore {
    /// On this server, or in this directory.
    ///
    /// # Errors
    /// When the server does not make a database.
    pub async fn make(server: Option<&DatabaseUrl>, dir: &Path) -> Result<Self, CommandError> {
        let Some(url) = server else { return Ok(Self::File(dir.join("repo.db"))) };
        let made = Scratch::create(url.expose()).await;
        let scratch = made.map_err(|error| format!("{url} did not make a database for the bench: {error}"))?;
        Ok(Self::Server(Box::new(scratch)))
    }

    /// Opens it, as an installation does.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(&self) -> Result<Arc<dyn Store>, CommandError> {
        Ok(store::open(&self.config()).await?)
    }

    /// How many tasks of persist it has work for.
    pub fn persist_tasks_max(&self) -> u16 {
        store::persist_tasks_max(&self.config())
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.repo.store.url = Some(match self {
            Self::File(path) => format!("sqlite:{}", path.display()).into(),
            Self::Server(scratch) => scratch.url().into(),
        });
        config
    }

    pub fn described(&self) -> String {
        match self {
            Self::File(_) => "SQLite, WAL, synchronous=FULL".into(),
            Self::Server(scratch) => format!("{}, set as it is", DatabaseUrl::from(scratch.url())),
        }
    }
}
