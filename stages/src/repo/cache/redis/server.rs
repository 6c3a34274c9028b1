//! Calls of one server, and what is owed to it when it is away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{Client, FromRedisValue, Pipeline, RedisError};
use schemas::ids::{ConversationId, GroupId, UserId};
use topics::guard::{CallFailed, Guard, Limits};

use super::config::RedisConfig;
use super::link::{Connector, Link};
use super::wire;
use crate::repo::cache::CacheError;

/// Puts a part of a conversation in place of what was kept of it, as a whole.
const PUT_MESSAGES: &str = include_str!("put_messages.lua");
/// Users whose forgetting is owed to a server that is away.
const OWED_MAX: usize = 100_000;
/// Of them, how many are paid for with one call.
const PAID_A_CALL_MAX: usize = 1_000;

/// A server, behind its guard.
pub(super) struct Server {
    pub(super) guard: Guard,
    pub(super) keys: Keys,
    connector: Arc<Connector>,
    address: String,
    connect_time: Duration,
    forgotten_time: Duration,
    retry_time: Duration,
    owed: Mutex<Owed>,
    paying: AtomicBool,
}

/// Users to be forgotten, each with the number of the change. They are unknown here until that is done.
#[derive(Default)]
struct Owed {
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
            owed: Mutex::default(),
            paying: AtomicBool::new(false),
        }
    }

    /// One pipeline: what is owed, or a part of it, then what `add` puts in.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        add: impl FnOnce(&mut Pipeline, &Link),
    ) -> Result<T, CacheError> {
        let attempt = move || async move {
            let mut link = self.connector.link().await?;
            let mut pipe = redis::pipe();
            let owed: HashMap<_, _> =
                self.owed().users.iter().take(PAID_A_CALL_MAX).map(|(id, change)| (*id, *change)).collect();
            for id in owed.keys() {
                let seconds = self.forgotten_time.as_secs();
                pipe.cmd("SET").arg(self.keys.user(*id, &link)).arg(wire::FORGOTTEN).arg("EX").arg(seconds).ignore();
            }
            add(&mut pipe, &link);
            let answer = pipe.query_async::<T>(&mut link.connection).await?;
            if !owed.is_empty() {
                self.owed().users.retain(|id, change| owed.get(id).is_none_or(|paid| *change > *paid));
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

    /// Marks a user as changed, now or once the server is back.
    pub(super) async fn forget(self: &Arc<Self>, id: UserId) -> Result<(), CacheError> {
        self.owe(id);
        let forgotten = self.call(|_, _| {}).await;
        if self.owes_anything() && !self.paying.swap(true, Ordering::SeqCst) {
            tokio::spawn(pay(Arc::downgrade(self), self.retry_time));
        }
        forgotten
    }

    /// Whether what the server says of a user is not to be believed yet.
    pub(super) fn owes(&self, id: UserId) -> bool {
        self.owed().users.contains_key(&id)
    }

    pub(super) fn unreadable(
        &self,
        what: &'static str,
    ) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> CacheError {
        move |source| CacheError::Unreadable { address: self.address.clone(), what, source }
    }

    fn owe(&self, id: UserId) {
        let mut owed = self.owed();
        owed.changes += 1;
        let change = owed.changes;
        if owed.users.len() < OWED_MAX || owed.users.contains_key(&id) {
            owed.users.insert(id, change);
        } else {
            tracing::error!(
                user = %id,
                "too many users changed while Redis was away to remember each: once it is back, run gochat rebuild cache"
            );
        }
    }

    fn owes_anything(&self) -> bool {
        !self.owed().users.is_empty()
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on until nothing is owed, so that other processes do not wait for this one's next call.
async fn pay(server: Weak<Server>, retry_time: Duration) {
    loop {
        tokio::time::sleep(retry_time).await;
        let Some(server) = server.upgrade() else { return };
        let paid: Result<(), _> = server.call(|_, _| {}).await;
        if paid.is_err() || server.owes_anything() {
            continue;
        }
        server.paying.store(false, Ordering::SeqCst);
        // Somebody may have come to owe since, and seen that this is still paying.
        if !server.owes_anything() || server.paying.swap(true, Ordering::SeqCst) {
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
