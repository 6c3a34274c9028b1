//! The cache of the repo: in this process ([`local`]), or on Redis ([`redis`]).
//!
//! An outage of the cache costs speed, never an answer. So no entry is used that could be stale:
//! [`CachedStore`](super::cached::CachedStore) compares messages with the conversation's head, and members
//! with the group's version, both just read from the store; a user is invalidated when they change. Every
//! implementation passes the one contract suite in `tests/repo/cache/contract.rs`.

mod config;
pub mod hot;
pub mod local;
pub mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use guard::CallFailed;
use schemas::causes::causes;
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::records::Sequenced;

pub use self::config::{CacheConfig, CacheKind, open};
pub use self::hot::{HOT_MESSAGES_MAX, KEPT_MESSAGES};
use super::model::{Membership, User};

/// How long entries live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub user: Duration,
    /// The entry that says that a user does not exist.
    pub absent_user: Duration,
    /// The mark that a user has changed: for that time no older value can be cached.
    pub forgotten_user: Duration,
    /// Where a user is connected.
    pub session: Duration,
    /// The newest messages of a conversation that nobody writes in.
    pub messages: Duration,
    /// The members of a group.
    pub membership: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            user: Duration::from_hours(24),
            absent_user: Duration::from_secs(5),
            forgotten_user: Duration::from_secs(30),
            session: Duration::from_mins(30),
            messages: Duration::from_hours(7 * 24),
            membership: Duration::from_hours(1),
        }
    }
}

/// What a cache answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    Found(T),
    /// The store has no such entry.
    Absent,
    /// The cache does not know: ask the store.
    Unknown,
}

/// Where a user is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    pub user_id: UserId,
    pub gateway_id: String,
    /// Since when, ms since 1970 UTC.
    pub login_at: i64,
    /// Last heard of, ms since 1970 UTC.
    pub last_seen: i64,
}

/// Why a cache does not answer. Whoever reads asks the store instead.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The address can't be used.
    #[error(
        "repo.cache.redis.url can't be used: {}. It is to be like redis://host:6379/0, or rediss://host:6379/0 for TLS",
        causes(.0)
    )]
    Address(#[source] ::redis::RedisError),
    /// Redis did not answer in time, or cannot be reached.
    #[error(
        "the cache at {address} does not answer: {}. Everything is read from the store; is it running?",
        causes(.source)
    )]
    Away {
        /// Where it is, without its password.
        address: String,
        #[source]
        source: CallFailed<::redis::RedisError>,
    },
    /// What it holds can't be read.
    #[error(
        "the cache at {address} holds {what}, which can't be read: {}. Was it written by a newer version, or by something else?",
        causes(.source.as_ref())
    )]
    Unreadable {
        address: String,
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Caches what the store answered and what was written to it. Each call is one round trip.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    async fn user(&self, id: UserId) -> Result<Lookup<User>, CacheError>;

    /// Caches a user as the store has them; `None`: there is none. Does nothing while an entry exists, or
    /// shortly after [`forget_user`](Self::forget_user): a value that was read before a change may arrive after it.
    async fn put_user(&self, id: UserId, user: Option<&User>) -> Result<(), CacheError>;

    /// Invalidates a user who has changed. If that fails, it is repeated before anything else is read
    /// through this cache.
    async fn forget_user(&self, id: UserId) -> Result<(), CacheError>;

    /// Where a user is connected, if anywhere.
    async fn session(&self, user: UserId) -> Result<Option<UserSession>, CacheError>;

    /// Replaces where a user is connected.
    async fn put_session(&self, session: &UserSession) -> Result<(), CacheError>;

    /// The members of a group, at the version that is cached.
    async fn membership(&self, group: GroupId) -> Result<Option<Arc<Membership>>, CacheError>;

    /// Caches the members of a group.
    async fn put_membership(&self, membership: &Membership) -> Result<(), CacheError>;

    /// The cached messages of a conversation from a seq on, by seq. There may be gaps, and the newest may be
    /// missing: see [`hot::Run`].
    async fn messages(&self, conversation: ConversationId, from: Seq) -> Result<Vec<Arc<Sequenced>>, CacheError>;

    /// Adds what the chain has just stored, of any conversations. A cache may leave out conversations
    /// that it keeps nothing of. Each conversation's part is added as a whole or not at all, and as many
    /// of its messages stay as were kept, or [`KEPT_MESSAGES`] if those were fewer.
    async fn append(&self, batch: &[&Sequenced]) -> Result<(), CacheError>;

    /// Keeps messages of one conversation that were read from the store, without a hole between them,
    /// as a whole, up to [`HOT_MESSAGES_MAX`]. Of two of one seq either may stay: changes are applied when
    /// they are read.
    async fn fill(&self, conversation: ConversationId, run: &[Arc<Sequenced>]) -> Result<(), CacheError>;

    /// Removes the messages of these conversations below a seq.
    async fn forget_messages(&self, below: &BTreeMap<ConversationId, Seq>) -> Result<(), CacheError>;

    /// Whether it answers, asked past its breaker: with the true cause when it does not.
    async fn probe(&self) -> Result<(), CacheError>;
}
