//! The state that REST handlers and sockets share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use listener::Seldom;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, UserId};
use schemas::token::{Claims, VerifyingKey};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::headers::TraceParent;

use crate::address;
use crate::appender::Appender;
use crate::config::GatewayConfig;
use crate::content_rates::ContentRates;
use crate::failed_logins::FailedLogins;
use crate::operations::Operations;
use crate::presence::{IsOnline, PresencePublisher, SlotLease};
use crate::rate::RateLimiter;
use crate::recent_requests::RecentRequests;
use crate::repo::Repo;
use crate::rights::Rights;
use crate::send_bytes::SendBytes;
use crate::sessions::Sessions;
use crate::sign_ins::SignIns;
use crate::signals::Signals;

pub struct Edge {
    pub config: GatewayConfig,
    pub resend_window: Duration,
    pub key: VerifyingKey,
    pub lease: SlotLease,
    pub clock: Clock,
    /// The latest time that a token was checked at, ms since 1970 UTC.
    pub latest_ms: AtomicI64,
    pub repo: Repo,
    pub rights: Rights,
    pub sign_ins: SignIns,
    pub recent_requests: RecentRequests,
    pub appender: Appender,
    pub backlog: Arc<Backlog>,
    pub sessions: Sessions,
    pub send_bytes: Arc<SendBytes>,
    pub presence: PresencePublisher,
    pub is_online_elsewhere: IsOnline,
    pub signals: Signals,
    pub rates: Rates,
    pub heads_permits: Semaphore,
    /// The tasks of connections and sockets.
    pub connections: TaskTracker,
    /// Cancelled when no new connections are taken.
    pub closing: CancellationToken,
    pub operations: Operations,
    pub next_socket: AtomicU64,
}

#[derive(Debug)]
pub struct Rates {
    pub requests_of_users: RateLimiter<UserId>,
    connections_of_addresses: RateLimiter<IpAddr>,
    requests_of_addresses: RateLimiter<IpAddr>,
    sign_ins_of_addresses: RateLimiter<IpAddr>,
    registrations_of_addresses: RateLimiter<IpAddr>,
    pub frames_of_users: RateLimiter<UserId>,
    pub failed_logins: FailedLogins,
    pub content: ContentRates,
    refusals: Seldom,
}

impl Rates {
    pub fn new(config: &GatewayConfig) -> Self {
        let (burst_s, entries_max) = (config.rate_burst_s, config.rate_entries_max);
        Self {
            requests_of_users: RateLimiter::new(config.requests_a_second_a_user, burst_s, entries_max),
            // Without a burst: a connection over the limit is not refused, it waits.
            connections_of_addresses: RateLimiter::new(config.connections_a_second_an_address, 1, entries_max),
            requests_of_addresses: RateLimiter::new(config.requests_a_second_an_address, burst_s, entries_max),
            sign_ins_of_addresses: RateLimiter::new(config.sign_ins_a_second_an_address, burst_s, entries_max),
            registrations_of_addresses: RateLimiter::per_minute(config.registrations_a_minute_an_address, entries_max),
            frames_of_users: RateLimiter::new(config.frames_a_second_a_user, burst_s, entries_max),
            failed_logins: FailedLogins::new(config),
            content: ContentRates::new(config),
            refusals: Seldom::default(),
        }
    }

    /// Counts a connection to its address; how long it waits before it is read.
    fn connection_of(&self, address: IpAddr) -> Duration {
        let now = Instant::now();
        let wait = self.connections_of_addresses.take_in_advance(&address, now);
        if !wait.is_zero() {
            self.tell("connections", address, now);
        }
        wait
    }

    /// Counts a request to its address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn request_of(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        self.requests_of_addresses.take(&address, now).inspect_err(|_| self.tell("requests", address, now))
    }

    /// Counts a registration, login or refresh to its address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn sign_in_of(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        self.sign_ins_of_addresses.take(&address, now).inspect_err(|_| self.tell("sign-ins", address, now))
    }

    /// Counts a registration to its address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn registration_of(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        self.registrations_of_addresses.take(&address, now).inspect_err(|_| self.tell("registrations", address, now))
    }

    /// Logs, seldom, that somebody says more than they may.
    pub fn tell_content(&self, sender: UserId, conversation: ConversationId, refusal: &Refusal) {
        if let Some(left_out) = self.refusals.due(Instant::now()) {
            let why = &refusal.message;
            tracing::warn!(%sender, %conversation, why, left_out, "a user says too much, and is refused; such lines come once a minute");
        }
    }

    fn tell(&self, what: &str, address: IpAddr, now: Instant) {
        if let Some(left_out) = self.refusals.due(now) {
            tracing::warn!(what, %address, left_out, "an address asks too often, and is refused or waits; such lines come once a minute");
        }
    }
}

impl Edge {
    /// Checks an access token: its signature and its time.
    pub fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        // A clock that is set back does not bring expired tokens back to life.
        let now_ms = self.clock.now_ms();
        let now_ms = self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms);
        self.key.verify(token, now_ms).map_err(|error| Refusal::new(ErrorCode::Unauthenticated, error.to_string()))
    }

    /// How long a connection of this address waits before it is read.
    pub fn connection_wait(&self, address: IpAddr) -> Duration {
        match address::is_proxy(address, &self.config.trusted_proxies) {
            true => Duration::ZERO,
            false => self.rates.connection_of(listener::customer(address)),
        }
    }

    /// Whether a user is connected to this gateway or another.
    pub fn is_online(&self, user: UserId) -> bool {
        self.sessions.is_online(user) || (self.is_online_elsewhere)(user)
    }

    /// How long a wait for the log may take.
    pub fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.config.append_timeout_ms)
    }
}

/// A new span in the client's trace, or in a new trace.
pub fn trace_from(given: Option<TraceParent>) -> TraceParent {
    // An id of zero is not allowed.
    let parent_id = rand::random::<u64>() | 1;
    match given {
        Some(trace) => TraceParent { parent_id, ..trace },
        None => TraceParent { trace_id: rand::random::<u128>() | 1, parent_id, flags: 0 },
    }
}
