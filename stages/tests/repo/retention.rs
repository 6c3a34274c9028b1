//! The sweeper of the retention, over a real store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq};
use schemas::records::Sequenced;
use schemas::snowflake::first_at;
use stages::repo::cache::local::{LocalCache, LocalConfig};
use stages::repo::cache::{Cache, Lifetimes};
use stages::repo::cached::CachedStore;
use stages::repo::model::{Extent, HistoryRange};
use stages::repo::retention::{Kept, STEP_MESSAGES_MAX, Sweeper};
use stages::repo::store::{Conversations, Retention, Store, StoreError};
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;

use crate::fixtures::{ANN, NOW, TestStore, pair, sqlite_store, text, write};
use crate::served::SOON;

const DAY_MS: i64 = 24 * 3_600_000;

/// A store that notes how much was removed in each step, and how many conversations were looked at in each page.
struct Noted {
    store: Arc<dyn Store>,
    steps: Mutex<Vec<usize>>,
    pages: Mutex<Vec<usize>>,
}

#[async_trait]
impl Retention for Noted {
    async fn lease_retention(&self, holder: i64, now: i64, until: i64) -> Result<bool, StoreError> {
        self.store.lease_retention(holder, now, until).await
    }

    async fn oldest(&self, below: MessageId, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError> {
        self.store.oldest(below, limit).await
    }

    async fn extents(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Extent)>, StoreError> {
        self.pages.lock().unwrap().push(limit);
        self.store.extents(after, limit).await
    }

    async fn retire(&self, places: &[(ConversationId, Seq)]) -> Result<u64, StoreError> {
        self.steps.lock().unwrap().push(places.len());
        self.store.retire(places).await
    }
}

/// A store, its cache and a sweeper.
struct Ground {
    test: TestStore,
    noted: Arc<Noted>,
    cache: Arc<dyn Cache>,
    sweeper: Sweeper,
    stop: CancellationToken,
}

impl Ground {
    async fn keeping(kept: Kept) -> Self {
        let test = sqlite_store().await;
        let (steps, pages) = (Mutex::default(), Mutex::default());
        let noted = Arc::new(Noted { store: test.store.clone(), steps, pages });
        let cache: Arc<dyn Cache> = Arc::new(LocalCache::new(&LocalConfig::default(), Lifetimes::default()));
        let clock = Clock::manual(NOW);
        let sweeper = Sweeper { store: noted.clone(), cache: cache.clone(), kept, clock, holder: 7 };
        Self { test, noted, cache, sweeper, stop: CancellationToken::new() }
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.test.store
    }

    async fn sweep(&self) -> u64 {
        self.sweeper.sweep(&self.stop).await.unwrap()
    }

    async fn extent(&self, conversation: ConversationId) -> (i64, i64) {
        let Extent { first, last } = self.store().extent(conversation).await.unwrap();
        (first.0, last.0)
    }
}

fn days(days: u32) -> Kept {
    Kept { days, ..Kept::default() }
}

fn messages(messages_a_conversation: u64) -> Kept {
    Kept { messages_a_conversation, ..Kept::default() }
}

/// A message whose id is of this time.
fn said_at(conversation: ConversationId, seq: i64, ms: i64) -> Sequenced {
    let place = match conversation {
        ConversationId::Group(group) => group.0,
        ConversationId::Single { .. } | ConversationId::World => 0,
    };
    Sequenced { message_id: MessageId(first_at(ms) + place), created_at: ms, ..text(conversation, seq, ANN, "hi") }
}

fn group(n: i64) -> ConversationId {
    ConversationId::Group(GroupId(n))
}

#[tokio::test]
async fn messages_are_kept_for_as_many_days_as_it_says_and_go_in_small_steps() {
    let ground = Ground::keeping(days(30)).await;
    // One every 40 minutes, for 40 days, in turns in three conversations.
    let count = 40 * 36;
    let at = |n: i64| NOW - 40 * DAY_MS + n * 40 * 60_000;
    let batch: Vec<_> = (0..count).map(|n| said_at(group(n % 3 + 1), n / 3 + 1, at(n))).collect();
    write(ground.store(), &batch).await;
    assert_eq!(ground.sweep().await, 10 * 36, "those of ten days");
    for n in 1..=3 {
        assert_eq!(ground.extent(group(n)).await, (10 * 12 + 1, 40 * 12));
    }
    assert_eq!(ground.sweep().await, 0, "the rest is young enough");
    ground.sweeper.clock.advance_ms(100 * DAY_MS);
    assert_eq!(ground.sweep().await, 30 * 36);
    let steps = ground.noted.steps.lock().unwrap();
    assert!(steps.iter().all(|&places| places <= STEP_MESSAGES_MAX) && steps.len() == 4, "{steps:?}");
    assert!(ground.noted.pages.lock().unwrap().is_empty(), "nobody walks through the conversations for that");
}

#[tokio::test]
async fn of_each_conversation_the_newest_messages_are_kept() {
    let ground = Ground::keeping(messages(100)).await;
    for (n, count) in [(1, 100), (2, 101), (3, 1_300), (4, 7)] {
        let batch: Vec<_> = (1..=count).map(|seq| text(group(n), seq, ANN, "hi")).collect();
        write(ground.store(), &batch).await;
    }
    assert_eq!(ground.sweep().await, 1 + 1_200);
    for (n, extent) in [(1, (1, 100)), (2, (2, 101)), (3, (1_201, 1_300)), (4, (1, 7))] {
        assert_eq!(ground.extent(group(n)).await, extent);
    }
    assert_eq!(ground.sweep().await, 0);
    let steps = ground.noted.steps.lock().unwrap();
    assert_eq!(*steps, [500, 500, 201]);
}

#[tokio::test]
async fn both_limits_hold_together_and_none_removes_nothing() {
    let ground = Ground::keeping(Kept { days: 10, messages_a_conversation: 3 }).await;
    let old = (1..=5).map(|seq| said_at(group(1), seq, NOW - 11 * DAY_MS + seq));
    let young = (6..=10).map(|seq| said_at(group(1), seq, NOW - 9 * DAY_MS + seq));
    write(ground.store(), &old.chain(young).collect::<Vec<_>>()).await;
    let everything = Sweeper { kept: Kept::default(), store: ground.noted.clone(), ..ground.sweeper };
    assert_eq!(everything.sweep(&ground.stop).await.unwrap(), 0);
    let sweeper = Sweeper { kept: Kept { days: 10, messages_a_conversation: 3 }, ..everything };
    assert_eq!(sweeper.sweep(&ground.stop).await.unwrap(), 7);
    let extent = ground.test.store.extent(group(1)).await.unwrap();
    assert_eq!(extent, Extent { first: Seq(8), last: Seq(10) });
}

#[tokio::test]
async fn while_another_process_sweeps_this_one_does_not() {
    let ground = Ground::keeping(Kept { days: 1, messages_a_conversation: 1 }).await;
    write(ground.store(), &(1..=9).map(|seq| said_at(pair(), seq, NOW - 9 * DAY_MS + seq)).collect::<Vec<_>>()).await;
    assert!(ground.store().lease_retention(1, NOW, NOW + 60_000).await.unwrap());
    assert_eq!(ground.sweep().await, 0);
    assert!(ground.noted.steps.lock().unwrap().is_empty());
    // That one died.
    ground.sweeper.clock.advance_ms(60_000);
    assert_eq!(ground.sweep().await, 9);
}

#[tokio::test]
async fn the_cache_forgets_what_is_removed_and_serves_the_rest() {
    let ground = Ground::keeping(messages(10)).await;
    write(ground.store(), &(1..=50).map(|seq| text(pair(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    let store = ground.store().clone();
    let cached = CachedStore::new(store.clone(), store.clone(), ground.cache.clone());
    let page = async |range| cached.history(pair(), range, Seq(1), 20).await.unwrap();
    assert_eq!(page(HistoryRange::Newest).await.messages.len(), 20);
    assert_eq!(ground.sweep().await, 40);
    let kept = ground.cache.messages(pair(), Seq(1)).await.unwrap();
    assert_eq!(kept.iter().map(|message| message.seq_id.0).collect::<Vec<_>>(), (41..=50).collect::<Vec<_>>());
    for range in [HistoryRange::Newest, HistoryRange::After(Seq(3)), HistoryRange::Before(Seq(45))] {
        let page = page(range).await;
        assert_eq!(page, store.history(pair(), range, Seq(1), 20).await.unwrap());
        assert_eq!((page.messages[0].seq_id, page.has_more, page.first_seq), (Seq(41), false, Seq(41)), "{range:?}");
    }
}

#[test]
fn the_sweeper_stops_between_steps_and_counts_what_it_removed() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let removed = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let ground = Ground::keeping(messages(1)).await;
            write(ground.store(), &(1..=1_201).map(|seq| text(pair(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
            let (store, stop) = (ground.store().clone(), ground.stop.clone());
            let first_step = async {
                while store.extent(pair()).await.unwrap().first == Seq(1) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                stop.cancel();
            };
            let (ran, ()) = tokio::join!(tokio::time::timeout(SOON, ground.sweeper.run(stop.clone())), first_step);
            ran.expect("it ends soon").unwrap();
            store.extent(pair()).await.unwrap().first.0 - 1
        })
    });
    assert!(removed % STEP_MESSAGES_MAX as i64 == 0 && removed < 1_200, "{removed}");
    let counted = format!("gochat_store_retired_total {removed}");
    assert!(page.render().contains(&counted), "{counted} is not in {}", page.render());
}
