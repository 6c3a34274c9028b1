//! Which cache is configured.

use std::sync::Arc;

use schemas::setting::{InvalidSetting, Section};

use super::local::{LocalCache, LocalConfig};
use super::redis::{RedisCache, RedisConfig};
use super::{Cache, CacheError, Lifetimes};

/// Which cache, and its limits.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// `local`, in this process, or `redis`, shared by all.
    pub kind: CacheKind,
    /// For the kind `local`.
    pub local: LocalConfig,
    /// For the kind `redis`.
    pub redis: RedisConfig,
}

impl CacheConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        self.local.check(Section(&section.key("local")))?;
        self.redis.check(Section(&section.key("redis")))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    #[default]
    Local,
    Redis,
}

/// Opens the cache that is configured. Redis need not be there yet.
///
/// # Errors
/// [`CacheError::Address`].
pub fn open(config: &CacheConfig, lifetimes: Lifetimes) -> Result<Arc<dyn Cache>, CacheError> {
    match config.kind {
        CacheKind::Local => Ok(Arc::new(LocalCache::new(&config.local, lifetimes))),
        CacheKind::Redis => Ok(Arc::new(RedisCache::open(&config.redis, lifetimes)?)),
    }
}
