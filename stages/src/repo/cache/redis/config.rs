//! Where Redis is, and its limits.

use std::fmt;

use schemas::setting::{InvalidSetting, Section};

use crate::repo::address;

/// Where Redis is, and how long it may take.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user@host:port/database`, or `rediss://` for TLS.
    pub url: String,
    /// The password, where it is not part of the address.
    pub password: String,
    /// Begins every key, where installations share a server.
    pub key_prefix: String,
    /// How long a call may take, in ms, before the store is asked instead.
    pub call_timeout_ms: u64,
    /// How long a connection may take to be made, in ms.
    pub connect_timeout_ms: u64,
    /// Consecutive failures that open the breaker.
    pub breaker_failures_in_a_row_max: u32,
    /// How long the breaker stays open, in ms; then one call probes.
    pub breaker_open_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".into(),
            password: String::new(),
            key_prefix: "gochat:".into(),
            call_timeout_ms: 50,
            connect_timeout_ms: 1_000,
            breaker_failures_in_a_row_max: 5,
            breaker_open_ms: 1_000,
        }
    }
}

impl RedisConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        if let Some(reason) = address::mistake(&self.url) {
            return Err(section.invalid("url", address::masked(&self.url), reason));
        }
        section.within("call_timeout_ms", self.call_timeout_ms, 1..=10_000)?;
        section.within("connect_timeout_ms", self.connect_timeout_ms, 1..=60_000)?;
        section.within("breaker_failures_in_a_row_max", self.breaker_failures_in_a_row_max, 1..=1_000_000)?;
        section.within("breaker_open_ms", self.breaker_open_ms, 10..=600_000)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}
