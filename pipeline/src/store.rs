//! Opens the store that is configured.

use std::sync::Arc;

use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Store, StoreError};

use crate::config::Config;

/// Opens it, and brings its tables up to date.
///
/// # Errors
/// [`StoreError`] when it can't be reached or used.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    SqliteStore::open(&config.data_dir.join("repo.db"), SqliteConfig::default())
        .await
        .map(|store| store as Arc<dyn Store>)
}

/// Opens what is there for a tool that reads: SQLite beside the process that writes it. Makes and changes
/// nothing.
///
/// # Errors
/// [`StoreError`] when it is not there, or can't be reached.
pub async fn attach(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    SqliteStore::open_read_only(&config.data_dir.join("repo.db"), SqliteConfig::default())
        .await
        .map(|store| store as Arc<dyn Store>)
}
