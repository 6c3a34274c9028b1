//! The state that REST handlers and sockets share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::token::{Claims, VerifyingKey};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::headers::TraceParent;

use crate::appender::Appender;
use crate::config::GatewayConfig;
use crate::failed_logins::FailedLogins;
use crate::operations::Operations;
use crate::presence::{IsOnline, PresencePublisher, SlotLease};
use crate::rate::RateLimiter;
use crate::recent_requests::RecentRequests;
use crate::repo::Repo;
use crate::rights::Rights;
use crate::sessions::Sessions;
use crate::sign_ins::SignIns;
use crate::signals::Signals;

pub struct Edge {
    pub(crate) config: GatewayConfig,
    pub(crate) resend_window: Duration,
    pub(crate) key: VerifyingKey,
    pub(crate) lease: SlotLease,
    pub(crate) clock: Clock,
    pub(crate) repo: Repo,
    pub(crate) rights: Rights,
    pub(crate) sign_ins: SignIns,
    pub(crate) recent_requests: RecentRequests,
    pub(crate) appender: Appender,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) sessions: Sessions,
    pub(crate) presence: PresencePublisher,
    pub(crate) is_online_elsewhere: IsOnline,
    pub(crate) signals: Signals,
    pub(crate) rates: Rates,
    pub(crate) heads_permits: Semaphore,
    /// The listener, and the tasks of sockets.
    pub(crate) connections: TaskTracker,
    /// Cancelled when no new connections are taken.
    pub(crate) closing: CancellationToken,
    pub(crate) operations: Operations,
    pub(crate) next_socket: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Rates {
    requests_of_users: RateLimiter<UserId>,
    requests_of_addresses: RateLimiter<IpAddr>,
    sign_ins_of_addresses: RateLimiter<IpAddr>,
    frames_of_users: RateLimiter<UserId>,
    pub(crate) failed_logins: FailedLogins,
}

impl Rates {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let (burst_s, entries_max) = (config.rate_burst_s, config.rate_entries_max);
        Self {
            requests_of_users: RateLimiter::new(config.requests_a_second_a_user, burst_s, entries_max),
            requests_of_addresses: RateLimiter::new(config.requests_a_second_an_address, burst_s, entries_max),
            sign_ins_of_addresses: RateLimiter::new(config.sign_ins_a_second_an_address, burst_s, entries_max),
            frames_of_users: RateLimiter::new(config.frames_a_second_a_user, burst_s, entries_max),
            failed_logins: FailedLogins::new(config),
        }
    }

    pub(crate) fn request_of_user(&self, user: UserId) -> Result<(), Duration> {
        self.requests_of_users.take(&user, Instant::now())
    }

    pub(crate) fn request_of_address(&self, address: IpAddr) -> Result<(), Duration> {
        self.requests_of_addresses.take(&address, Instant::now())
    }

    pub(crate) fn sign_in_of_address(&self, address: IpAddr) -> Result<(), Duration> {
        self.sign_ins_of_addresses.take(&address, Instant::now())
    }

    pub(crate) fn frame_of_user(&self, user: UserId) -> Result<(), Duration> {
        self.frames_of_users.take(&user, Instant::now())
    }
}

impl Edge {
    /// Checks an access token: its signature and its time.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.key
            .verify(token, self.clock.now_ms())
            .map_err(|error| Refusal::new(ErrorCode::Unauthenticated, error.to_string()))
    }

    /// Whether a user is connected to this gateway or another.
    pub(crate) fn is_online(&self, user: UserId) -> bool {
        self.sessions.is_online(user) || (self.is_online_elsewhere)(user)
    }

    /// A number for a socket, unique in this process.
    pub(crate) fn next_socket(&self) -> u64 {
        self.next_socket.fetch_add(1, Ordering::Relaxed)
    }

    /// How long a wait for the log may take.
    pub(crate) fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.config.append_timeout_ms)
    }
}

/// A new span in the client's trace, or in a new trace.
pub(crate) fn trace_from(given: Option<TraceParent>) -> TraceParent {
    // An id of zero is not allowed.
    let parent_id = rand::random::<u64>() | 1;
    match given {
        Some(trace) => TraceParent { parent_id, ..trace },
        None => TraceParent { trace_id: rand::random::<u128>() | 1, parent_id, flags: 0 },
    }
}
