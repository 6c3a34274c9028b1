//! Calls to one Redis server, and the invalidations that it missed while it was away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use guard::{CallFailed, Guard, Limits};
use redis::{Client, FromRedisValue, Pipeline, RedisError};
use schemas::ids::{ConversationId, GroupId, UserId};

use super::config::RedisConfig;
use super::link::{Connector, Link};
use super::wire;
use crate::repo::cache::CacheError;

/// Puts a part of a conversation in place of what was kept of it, as a whole.
const PUT_MESSAGES: &str = include_str!("put_messages.lua");
/// Invalidations of users that wait for a server that is away.
const PENDING_MAX: usize = 100_000;
/// Of them, how many go with one call.
const SENT_A_CALL_MAX: usize = 1_000;

/// The Redis server behind a guard.
pub(super) struct Server {
    pub(super) guard: Guard,
    pub(super) keys: Keys,
    connector: Arc<Connector>,
    address: String,
    connect_time: Duration,
    forgotten_time: Duration,
    retry_time: Duration,
    pending: Mutex<Pending>,
    sending: AtomicBool,
}

/// Users to invalidate, each with the number of its newest change. Until that is done, cached values of them
/// do not count.
#[derive(Default)]
struct Pending {
    users: HashMap<UserId, u64>,
    changes: u64,
}

impl Server {
    /// The one that the client leads to. A user who was forgotten stays so for `forgotten_time`.
    pub(super) fn new(client: Client, config: &RedisConfig, forgotten_time: Duration) -> Self {
        let retry_time = Duration::from_millis(config.breaker_open_ms);
        let call_time_max = Duration::from_millis(config.call_timeout_ms);
        let connect_time_max = Duration::from_millis(config.connect_timeout_ms);
        let limits = Limits {
            failures_in_a_row_max: config.breaker_failures_in_a_row_max,
            open_time: retry_time,
            ..Limits::within(call_time_max)
        };
        let address = client.get_connection_info().addr().to_string();
        Self {
            guard: Guard::new("redis", limits),
            keys: Keys { prefix: config.key_prefix.clone() },
            connector: Connector::new(client, connect_time_max, call_time_max, PUT_MESSAGES),
            address,
            connect_time: connect_time_max,
            forgotten_time,
            retry_time,
            pending: Mutex::default(),
            sending: AtomicBool::new(false),
        }
    }

    /// Sends one pipeline: pending invalidations, or a part of them, then what `add` puts in.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        add: impl FnOnce(&mut Pipeline, &Link),
    ) -> Result<T, CacheError> {
        let attempt = move || async move {
            let mut link = self.connector.link().await?;
            let mut pipe = redis::pipe();
            let pending: HashMap<_, _> =
                self.pending().users.iter().take(SENT_A_CALL_MAX).map(|(id, change)| (*id, *change)).collect();
            for id in pending.keys() {
                let seconds = self.forgotten_time.as_secs();
                pipe.cmd("SET").arg(self.keys.user(*id, &link)).arg(wire::FORGOTTEN).arg("EX").arg(seconds).ignore();
            }
            add(&mut pipe, &link);
            let answer = pipe.query_async::<T>(&mut link.connection).await?;
            if !pending.is_empty() {
                self.pending().users.retain(|id, change| pending.get(id).is_none_or(|sent| *change > *sent));
            }
            Ok::<_, RedisError>(answer)
        };
        self.guard.once(attempt, |_| true).await.map_err(|source| {
            match &source {
                CallFailed::Refused { .. } => {}
                CallFailed::TimedOut { .. } | CallFailed::Failed { .. } => self.connector.give_up(),
            }
            CacheError::Away { address: self.address.clone(), source }
        })
    }

    /// One question, past the guard: a breaker that is open knows no cause. It has the time that a connection
    /// may take, so that a server which is only slow is not called away.
    pub(super) async fn probe(&self) -> Result<(), CacheError> {
        let service = "redis";
        let ask = async {
            let mut link = self.connector.link().await?;
            redis::cmd("PING").query_async::<()>(&mut link.connection).await
        };
        let answer = match tokio::time::timeout(self.connect_time, ask).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(source)) => CallFailed::Failed { service, source },
            Err(_) => CallFailed::TimedOut { service, limit: self.connect_time },
        };
        self.connector.give_up();
        Err(CacheError::Away { address: self.address.clone(), source: answer })
    }

    /// Invalidates a user, now or once the server is back.
    pub(super) async fn forget(self: &Arc<Self>, id: UserId) -> Result<(), CacheError> {
        self.add_pending(id);
        let forgotten = self.call(|_, _| {}).await;
        if self.has_pending() && !self.sending.swap(true, Ordering::SeqCst) {
            tokio::spawn(send_pending(Arc::downgrade(self), self.retry_time));
        }
        forgotten
    }

    /// Whether the server's value of a user may be stale.
    pub(super) fn is_pending(&self, id: UserId) -> bool {
        self.pending().users.contains_key(&id)
    }

    pub(super) fn unreadable(
        &self,
        what: &'static str,
    ) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> CacheError {
        move |source| CacheError::Unreadable { address: self.address.clone(), what, source }
    }

    fn add_pending(&self, id: UserId) {
        let mut pending = self.pending();
        pending.changes += 1;
        let change = pending.changes;
        if pending.users.len() < PENDING_MAX || pending.users.contains_key(&id) {
            pending.users.insert(id, change);
        } else {
            tracing::error!(
                user = %id,
                "too many users changed while Redis was away to remember each: once it is back, run gochat rebuild cache"
            );
        }
    }

    fn has_pending(&self) -> bool {
        !self.pending().users.is_empty()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Retries until no invalidation is pending, so that other processes do not wait for this one's next call.
async fn send_pending(server: Weak<Server>, retry_time: Duration) {
    loop {
        tokio::time::sleep(retry_time).await;
        let Some(server) = server.upgrade() else { return };
        let sent: Result<(), _> = server.call(|_, _| {}).await;
        if sent.is_err() || server.has_pending() {
            continue;
        }
        server.sending.store(false, Ordering::SeqCst);
        // An invalidation may have been added since, by a caller that saw this task still running.
        if !server.has_pending() || server.sending.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}

/// The names of everything, behind the installation's prefix.
pub(super) struct Keys {
    pub(super) prefix: String,
}

impl Keys {
    pub(super) fn user(&self, id: UserId, link: &Link) -> String {
        format!("{}user_info:{id}:{}", self.prefix, link.run)
    }

    pub(super) fn session(&self, id: UserId, link: &Link) -> String {
        format!("{}user_session:{id}:{}", self.prefix, link.run)
    }

    pub(super) fn members(&self, group: GroupId) -> String {
        format!("{}group_members:{group}", self.prefix)
    }

    pub(super) fn messages(&self, conversation: ConversationId) -> String {
        format!("{}hot_messages:{conversation}", self.prefix)
    }

    pub(super) fn newest_seq(&self, conversation: ConversationId) -> String {
        format!("{}conv_seq:{conversation}", self.prefix)
    }
}
