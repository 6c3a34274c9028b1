//! What of the repo can be configured, with its defaults.

use std::time::Duration;

use listener::Limits;
use schemas::setting::{InvalidSetting, Section};

/// How long after its opening a connection may make its first call.
const FIRST_CALL_MAX: Duration = Duration::from_secs(30);

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
    /// Connections, one for each process that asks; one more closes the one whose last call is longest ago. Fewer, where
    /// the limit of open files is lower.
    pub connections_max: usize,
    /// Connections of one address; one more closes another one of the address in the same way. Where `connections_max` is
    /// lowered, so is this.
    pub connections_an_address_max: usize,
    /// Calls under way on one connection; more wait.
    pub connection_requests_max: u32,
    /// Memory of one password hash, in KiB: argon2's m.
    pub password_memory_kib: u32,
    /// Passes of one password hash: argon2's t.
    pub password_passes: u32,
    /// Passwords that wait to be hashed; of more, those of the client with the most are refused as Busy.
    pub password_queue_max: usize,
}

impl Default for RepoConfig {
    fn default() -> Self {
        Self {
            access_token_seconds: 15 * 60,
            refresh_token_days: 30,
            group_members_max: 100_000,
            request_timeout_ms: 10_000,
            connections_max: 1_024,
            connections_an_address_max: 256,
            connection_requests_max: 256,
            password_memory_kib: argon2::Params::DEFAULT_M_COST,
            password_passes: argon2::Params::DEFAULT_T_COST,
            password_queue_max: 64,
        }
    }
}

impl RepoConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        const DAY_SECONDS: u64 = 24 * 3_600;
        section.within("access_token_seconds", self.access_token_seconds, 1..=7 * 24 * 3_600)?;
        section.within("refresh_token_days", self.refresh_token_days, 1..=3_650)?;
        let refresh_seconds = u64::from(self.refresh_token_days) * DAY_SECONDS;
        if u64::from(self.access_token_seconds) > refresh_seconds {
            let limit = format!("at most {refresh_seconds}, as {} has it", section.key("refresh_token_days"));
            return Err(section.invalid("access_token_seconds", self.access_token_seconds, limit));
        }
        section.within("group_members_max", self.group_members_max, 1..=10_000_000)?;
        section.within("request_timeout_ms", self.request_timeout_ms, 100..=600_000)?;
        section.within("connections_max", self.connections_max, 1..=1_000_000)?;
        section.within("connections_an_address_max", self.connections_an_address_max, 1..=1_000_000)?;
        section.within("connection_requests_max", self.connection_requests_max, 1..=65_536)?;
        section.within("password_memory_kib", self.password_memory_kib, argon2::Params::MIN_M_COST..=1 << 18)?;
        section.within("password_passes", self.password_passes, argon2::Params::MIN_T_COST..=10)?;
        section.within("password_queue_max", self.password_queue_max, 0..=100_000)
    }

    /// The bounds of its connections. One without calls is closed after an hour: HTTP/2's pings end dead ones before.
    pub fn connections(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            connections_an_address_max: self.connections_an_address_max,
            request_time: self.request_timeout() + FIRST_CALL_MAX,
            idle_time: Duration::from_secs(3_600),
            proxies: Vec::new(),
        }
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(super) fn access_token_ms(&self) -> i64 {
        i64::from(self.access_token_seconds) * 1_000
    }

    pub(super) fn refresh_token_ms(&self) -> i64 {
        i64::from(self.refresh_token_days) * 24 * 3_600_000
    }
}
