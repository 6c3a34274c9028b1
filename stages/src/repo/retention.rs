//! The retention: removes messages from the store that are older, or more, than an installation keeps.
//!
//! A sweep is many small transactions with a rest after each, so that the chain's writes are not held up. What is too old
//! is found by message id, which begins with the time; what is too many, on a walk over the conversations, page by page.
//! Of several processes one sweeps at a time, by a lease in the store. The lease saves work and nothing else: to remove
//! what is removed changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::causes::causes;
use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::snowflake::first_at;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;

use super::cache::Cache;
use super::store::{Class, Retention, StoreError};

/// Messages that one transaction removes.
pub const STEP_MESSAGES_MAX: usize = 500;
/// Conversations that are looked at at once.
const PAGE_CONVERSATIONS: usize = 1_000;
/// A sweep rests so many times as long as a step took: it has a fifth of the store's time at most.
const RESTS_A_STEP: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(20);
/// From the end of a sweep to the next one.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// How long a process keeps the others from sweeping. Longer than it waits: it stays the one.
const LEASE_MS: i64 = 15 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// What an installation keeps of its messages; 0: all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// How old a message may be.
    pub days: u32,
    /// How many a conversation may have: whatever has a seq counts.
    pub messages_a_conversation: u64,
}

impl Kept {
    /// Whether nothing is ever removed.
    pub fn is_everything(self) -> bool {
        self == Self::default()
    }
}

/// Removes what an installation does not keep.
pub struct Sweeper {
    pub store: Arc<dyn Retention>,
    /// Forgets what the store removes.
    pub cache: Arc<dyn Cache>,
    pub kept: Kept,
    pub clock: Clock,
    /// Tells processes apart.
    pub holder: i64,
}

impl Sweeper {
    /// Sweeps now and again until `shutdown`.
    ///
    /// # Errors
    /// The store's, when a retry would fail too.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StoreError> {
        metrics::counter!("gochat_store_retired_total").increment(0);
        while !shutdown.is_cancelled() {
            match self.sweep(&shutdown).await {
                Ok(_) => {}
                // Health checks report that the store is away.
                Err(error) if error.class() == Class::Retry => {
                    tracing::debug!(error = causes(&error), "the retention waits; tried again in {SWEEP_EVERY:?}");
                }
                Err(error) => return Err(error),
            }
            shutdown.run_until_cancelled(sleep(SWEEP_EVERY)).await;
        }
        Ok(())
    }

    /// Removes what is too old or too many by now, and tells how many messages that were. Nothing while another
    /// process sweeps.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self, shutdown: &CancellationToken) -> Result<u64, StoreError> {
        let since = Instant::now();
        let mut sweep = Sweep { of: self, shutdown, lease_from_ms: None, removed: 0 };
        let done = sweep.everything().await;
        let messages = sweep.removed;
        if messages > 0 {
            let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(messages, took_ms, "messages beyond the retention were removed from the store");
        }
        done.map(|()| messages)
    }
}

struct Sweep<'a> {
    of: &'a Sweeper,
    shutdown: &'a CancellationToken,
    /// When the lease was taken or extended, ms since 1970 UTC.
    lease_from_ms: Option<i64>,
    removed: u64,
}

impl Sweep<'_> {
    async fn everything(&mut self) -> Result<(), StoreError> {
        let Kept { days, messages_a_conversation } = self.of.kept;
        if days > 0 {
            self.too_old(days).await?;
        }
        if messages_a_conversation > 0 {
            self.too_many(i64::try_from(messages_a_conversation).unwrap_or(i64::MAX)).await?;
        }
        Ok(())
    }

    async fn too_old(&mut self, days: u32) -> Result<(), StoreError> {
        let below = MessageId(first_at(self.of.clock.now_ms() - i64::from(days) * DAY_MS));
        while self.goes_on().await? {
            let places = self.of.store.oldest(below, STEP_MESSAGES_MAX).await?;
            if places.is_empty() {
                break;
            }
            self.remove(&places).await?;
        }
        Ok(())
    }

    async fn too_many(&mut self, kept: i64) -> Result<(), StoreError> {
        let mut after = None;
        while self.goes_on().await? {
            let page = self.of.store.extents(after, PAGE_CONVERSATIONS).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let mut beyond = page.iter().flat_map(|&(conversation, extent)| {
                let end = extent.last.0.saturating_sub(kept);
                (extent.first.0..=end).map(move |seq| (conversation, Seq(seq)))
            });
            loop {
                let places: Vec<_> = beyond.by_ref().take(STEP_MESSAGES_MAX).collect();
                if places.is_empty() || !self.goes_on().await? {
                    break;
                }
                self.remove(&places).await?;
            }
            self.rest(REST_MIN).await;
        }
        Ok(())
    }

    /// Whether it is still this process's turn.
    async fn goes_on(&mut self) -> Result<bool, StoreError> {
        if self.shutdown.is_cancelled() {
            return Ok(false);
        }
        let now = self.of.clock.now_ms();
        if self.lease_from_ms.is_some_and(|from| (from..from + LEASE_MS / 2).contains(&now)) {
            return Ok(true);
        }
        let granted = self.of.store.lease_retention(self.of.holder, now, now + LEASE_MS).await?;
        self.lease_from_ms = granted.then_some(now);
        Ok(granted)
    }

    /// One step, and a rest after it.
    async fn remove(&mut self, places: &[(ConversationId, Seq)]) -> Result<(), StoreError> {
        let since = Instant::now();
        let removed = self.of.store.retire(places).await?;
        self.removed += removed;
        metrics::counter!("gochat_store_retired_total").increment(removed);
        let mut below = BTreeMap::new();
        for &(conversation, seq) in places {
            let first = below.entry(conversation).or_insert(Seq(0));
            *first = Seq(seq.0.saturating_add(1)).max(*first);
        }
        if let Err(error) = self.of.cache.forget_messages(&below).await {
            tracing::debug!(%error, "the cache has removed messages until they expire; nobody is shown them");
        }
        self.rest((since.elapsed() * RESTS_A_STEP).max(REST_MIN)).await;
        Ok(())
    }

    async fn rest(&self, time: Duration) {
        self.shutdown.run_until_cancelled(sleep(time)).await;
    }
}
