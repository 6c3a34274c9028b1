//! What of the repo can be configured, with its defaults.

use std::time::Duration;

/// How the repo serves. The store has a configuration of its own.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoConfig {
    /// How long an access token is good for.
    pub access_token_seconds: u32,
    /// How long a refresh token is good for.
    pub refresh_token_days: u32,
    /// Members that a new group may have.
    pub group_members_max: i32,
    /// A call that takes longer is answered with DEADLINE_EXCEEDED.
    pub request_timeout_ms: u64,
    /// Calls under way on one connection; more wait.
    pub connection_requests_max: u32,
    /// How long calls under way are waited for when the process ends.
    pub drain_timeout_ms: u64,
    /// Memory of one password hash, in KiB: argon2's m.
    pub password_memory_kib: u32,
    /// Passes of one password hash: argon2's t.
    pub password_passes: u32,
    /// Passwords that wait to be hashed; more are refused as Busy.
    pub password_queue_max: usize,
}

impl Default for RepoConfig {
    fn default() -> Self {
        Self {
            access_token_seconds: 15 * 60,
            refresh_token_days: 30,
            group_members_max: 100_000,
            request_timeout_ms: 10_000,
            connection_requests_max: 256,
            drain_timeout_ms: 10_000,
            password_memory_kib: argon2::Params::DEFAULT_M_COST,
            password_passes: argon2::Params::DEFAULT_T_COST,
            password_queue_max: 64,
        }
    }
}

impl RepoConfig {
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    pub(super) fn access_token_ms(&self) -> i64 {
        i64::from(self.access_token_seconds) * 1_000
    }

    pub(super) fn refresh_token_ms(&self) -> i64 {
        i64::from(self.refresh_token_days) * 24 * 3_600_000
    }
}
