//! The store that a benchmark runs on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scratch::Scratch;
use stages::repo::store::Store;

use super::CommandError;
pub(super) use crate::log::BENCHED_SLOTS;
use pipeline::config::Config;
use pipeline::database_url::DatabaseUrl;
use pipeline::store;

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
