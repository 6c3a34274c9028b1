//! The layers before the store: a guard, and the configured cache.

use std::sync::Arc;
use std::time::Duration;

use stages::repo::cache::{self, Cache, CacheError, CacheKind, Lifetimes};
use stages::repo::cached::CachedStore;
use stages::repo::guarded::GuardedStore;
use stages::repo::store::Store;

use crate::config::{Config, LogKind};
use crate::database_url::DatabaseUrl;

/// How stale a user may be where each process has a cache of its own, which misses changes made through another.
const UNSHARED_USER_LIFETIME: Duration = Duration::from_secs(5);

/// A store and what stands before it.
#[derive(Clone)]
pub struct Stores {
    /// The database without guard and cache: for the outbox relay and the health watch.
    pub bare: Arc<dyn Store>,
    /// What persist writes to and the services read: the database behind guard and cache.
    pub cached: Arc<CachedStore>,
    pub cache: Arc<dyn Cache>,
}

/// Puts the guard and the cache before a store.
///
/// # Errors
/// [`CacheError::Address`]; a cache that is away is none.
pub fn before(bare: Arc<dyn Store>, config: &Config) -> Result<Stores, CacheError> {
    let cache = cache::open(&config.repo.cache, lifetimes(config))?;
    let guarded = GuardedStore::new(bare.clone(), &config.repo.guard);
    let cached = Arc::new(CachedStore::new(bare.clone(), Arc::new(guarded), cache.clone()));
    Ok(Stores { bare, cached, cache })
}

/// Where the cache is, without its password, if it is a service.
pub fn address(config: &Config) -> Option<String> {
    match config.repo.cache.kind {
        CacheKind::Redis => Some(DatabaseUrl::from(config.repo.cache.redis.url.clone()).to_string()),
        CacheKind::Local => None,
    }
}

fn lifetimes(config: &Config) -> Lifetimes {
    let whole = Lifetimes::default();
    match (config.repo.cache.kind, config.log.kind) {
        (CacheKind::Redis, LogKind::Embedded | LogKind::Kafka) | (CacheKind::Local, LogKind::Embedded) => whole,
        // The roles of an installation on Kafka run in several processes.
        (CacheKind::Local, LogKind::Kafka) => Lifetimes { user: UNSHARED_USER_LIFETIME, ..whole },
    }
}
