//! A store behind a guard: a time limit on each attempt, retries of reads within a budget, and a circuit
//! breaker, so that requests do not pile up on a failing database.
//!
//! Only the services go through it. The chain, the outbox relay, tools and health checks use the store
//! itself: they are few, and retry for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use guard::{CallFailed, Guard, Limits};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::setting::{InvalidSetting, Section};

use super::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Extent, Group, GroupChange, HistoryPage, HistoryRange,
    Member, Membership, Message, NewGroup, NewToken, OpenSignIn, ReadMark, Rotation, SignIn, Standing, TokenHash, User,
    UserPatch,
};
use super::store::{Class, Conversations, Groups, ServiceStore, StoreError, Users, groups_calls, users_calls};

/// How long the store may take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardedStoreConfig {
    /// An attempt to read, in ms.
    pub read_timeout_ms: u64,
    /// A change that a request makes, in ms. It is tried once: a lost answer may hide a commit.
    pub write_timeout_ms: u64,
    /// Consecutive failures that open the breaker.
    pub breaker_failures_in_a_row_max: u32,
    /// How long the breaker stays open, in ms; then one call probes.
    pub breaker_open_ms: u64,
}

impl Default for GuardedStoreConfig {
    fn default() -> Self {
        Self {
            read_timeout_ms: 3_000,
            write_timeout_ms: 8_000,
            breaker_failures_in_a_row_max: 10,
            breaker_open_ms: 1_000,
        }
    }
}

impl GuardedStoreConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        section.within("read_timeout_ms", self.read_timeout_ms, 100..=600_000)?;
        section.within("write_timeout_ms", self.write_timeout_ms, 100..=600_000)?;
        section.within("breaker_failures_in_a_row_max", self.breaker_failures_in_a_row_max, 1..=1_000_000)?;
        section.within("breaker_open_ms", self.breaker_open_ms, 10..=600_000)
    }
}

/// A store behind a [`Guard`] for reads and one for changes.
pub struct GuardedStore {
    store: Arc<dyn ServiceStore>,
    reads: Guard,
    writes: Guard,
}

impl GuardedStore {
    pub fn new(store: Arc<dyn ServiceStore>, config: &GuardedStoreConfig) -> Self {
        let limits = |time_ms| Limits {
            failures_in_a_row_max: config.breaker_failures_in_a_row_max,
            open_time: Duration::from_millis(config.breaker_open_ms),
            ..Limits::within(Duration::from_millis(time_ms))
        };
        Self {
            store,
            reads: Guard::new("store-reads", limits(config.read_timeout_ms)),
            writes: Guard::new("store-writes", limits(config.write_timeout_ms)),
        }
    }
}

fn is_transient(error: &StoreError) -> bool {
    match error.class() {
        Class::Retry => true,
        Class::Fatal | Class::Refused(_) => false,
    }
}

fn explain(doing: &'static str) -> impl Fn(CallFailed<StoreError>) -> StoreError {
    move |failed| match failed {
        CallFailed::Failed { source, .. } => source,
        CallFailed::Refused { .. } | CallFailed::TimedOut { .. } => {
            StoreError::Unavailable { store: "the store".into(), doing, source: failed.into() }
        }
    }
}

/// Implements a trait of the store: reads are retried, writes are tried once.
macro_rules! guarded {
    (
        $trait:ident
        reads { $($read:ident($($r:ident: $rt:ty),*) -> $rout:ty = $reading:literal;)* }
        writes { $($write:ident($($w:ident: $wt:ty),*) -> $wout:ty = $writing:literal;)* }
    ) => {
        #[async_trait]
        impl $trait for GuardedStore {
            $(async fn $read(&self, $($r: $rt),*) -> Result<$rout, StoreError> {
                self.reads.retrying(|| self.store.$read($($r),*), is_transient).await.map_err(explain($reading))
            })*
            $(async fn $write(&self, $($w: $wt),*) -> Result<$wout, StoreError> {
                self.writes.once(|| self.store.$write($($w),*), is_transient).await.map_err(explain($writing))
            })*
        }
    };
}

guarded! {
    Conversations
    reads {
        messages(ids: &[MessageId]) -> Vec<Message> = "read messages";
        message_at(conversation: ConversationId, seq: Seq) -> Option<Message> = "read a message";
        extent(conversation: ConversationId) -> Extent = "read the extent of a conversation";
        history(conversation: ConversationId, range: HistoryRange, first: Seq, limit: usize) -> HistoryPage
            = "read a history";
        conversations(user: UserId, after: Option<ConversationsAfter>, limit: usize) -> Vec<ConversationView>
            = "list conversations";
        heads(user: UserId, since: i64, limit: usize) -> Vec<(ConversationId, Seq)> = "list heads";
        standing(conversation: ConversationId, user: UserId) -> Option<Standing> = "judge a user's rights";
        read_marks(conversation: ConversationId) -> Vec<ReadMark> = "list read marks";
    }
    writes {}
}

users_calls!(guarded);

groups_calls!(guarded);
