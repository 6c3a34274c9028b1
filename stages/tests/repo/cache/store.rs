//! A store behind a cache answers as the store itself, whatever happened before.
//!
//! `cached_store_contract!(name, factory)` makes a module of tests of that name over a real store and
//! the caches of the factory.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::cache::{Cache, HOT_MESSAGES_MAX, KEPT_MESSAGES, Lookup};
use stages::repo::cached::CachedStore;
use stages::repo::model::{GroupChange, HistoryRange, UserPatch};
use stages::repo::store::{Conversations, Groups, Store, Users};
use tempfile::TempDir;

use crate::fixtures::{
    ANN, BEN, CLEO, GROUP, TestStore, about, act, pair, sqlite_store, text, user, with_group, with_many_users,
    with_users, write,
};

/// A store, and the same behind a cache.
pub struct Both {
    pub store: Arc<dyn Store>,
    pub cache: Arc<dyn Cache>,
    pub cached: Arc<CachedStore>,
    _dir: TempDir,
}

impl Both {
    pub async fn over(cache: Arc<dyn Cache>) -> Self {
        let TestStore { store, dir } = sqlite_store().await;
        let cached = Arc::new(CachedStore::new(store.clone(), store.clone(), cache.clone()));
        Self { store, cache, cached, _dir: dir }
    }

    /// Both say the same of a page.
    pub async fn agree_on(&self, range: HistoryRange, first: i64, limit: usize, context: &str) {
        let expected = self.store.history(pair(), range, Seq(first), limit).await.unwrap();
        let page = self.cached.history(pair(), range, Seq(first), limit).await.unwrap();
        assert_eq!(page, expected, "{context}: {range:?} from {first}, {limit} at most");
    }

    /// How much of the pair's history the cache has by itself.
    pub async fn kept(&self) -> usize {
        self.cache.messages(pair(), Seq(1)).await.unwrap().len()
    }

    pub async fn rename(&self, store: &Arc<impl Users + ?Sized>, id: UserId, name: &str) {
        let patch = UserPatch { display_name: Some(name.into()), avatar_url: None, status: None };
        store.update_user(id, &patch).await.unwrap().unwrap();
    }

    pub async fn name(&self, id: UserId) -> String {
        self.cached.user(id).await.unwrap().unwrap().display_name
    }
}

/// All tests of a store behind the caches that a factory makes.
macro_rules! cached_store_contract {
    ($name:ident, $factory:ident) => {
        mod $name {
            $crate::cache::store::cached_store_tests!($factory: [
                every_page_reads_as_from_the_store,
                what_was_appended_is_read_from_the_cache,
                what_the_cache_missed_is_read_from_the_store,
                more_is_kept_where_somebody_goes_back,
                a_message_recalled_long_after_is_shown_as_recalled,
                nothing_that_a_recalled_message_said_stays_in_the_cache,
                an_edit_of_an_older_message_is_read_from_the_cache_in_the_end,
                a_user_is_read_as_they_are_now,
                a_user_who_comes_later_is_found,
                members_are_those_of_the_newest_version,
                readers_at_once_get_the_same_answer,
            ]);
        }
    };
}
pub(crate) use cached_store_contract;

macro_rules! cached_store_tests {
    ($factory:ident: [$($test:ident,)*]) => {
        $(
            #[tokio::test]
            async fn $test() {
                let cache = super::$factory(stages::repo::cache::Lifetimes::default());
                let both = $crate::cache::store::Both::over(cache).await;
                $crate::cache::store::$test(both).await;
            }
        )*
    };
}
pub(crate) use cached_store_tests;

/// Something that may happen to a conversation next.
fn next(seq: i64, rng: &mut StdRng) -> Sequenced {
    let sender = if rng.random_bool(0.5) { ANN } else { BEN };
    let message = text(pair(), seq, sender, &format!("{seq} said"));
    // Most of what is changed was said just now; some long ago, some never.
    let target = if rng.random_bool(0.8) { seq - rng.random_range(0..12) } else { rng.random_range(-1..=seq + 3) };
    match rng.random_range(0..10) {
        0..4 => message,
        4 => Sequenced { kind: Kind::Image, ..message },
        5 => about(Kind::Reaction, target, seq, message),
        6 | 7 => about(Kind::Edit, target, seq, Sequenced { content: format!("{seq} edits").into(), ..message }),
        8 => about(Kind::Recall, target, seq, Sequenced { content: "".into(), ..message }),
        _ => Sequenced { kind: Kind::named("poll"), ..message },
    }
}

/// Batches of a conversation, some of which the cache does not hear of, removals of the oldest, and pages of it, in any
/// order.
pub async fn every_page_reads_as_from_the_store(both: Both) {
    const SEED: u64 = 20_261_121;
    let context = format!("seed {SEED}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let (mut seq, mut removed) = (0, 0);
    while seq < 700 {
        let size = if rng.random_bool(0.05) { rng.random_range(100..200) } else { rng.random_range(1..12) };
        let batch: Vec<_> = (seq + 1..=seq + size).map(|seq| next(seq, &mut rng)).collect();
        seq += size;
        let heard = rng.random_bool(0.8);
        if heard {
            write(&both.cached, &batch).await;
        } else {
            write(&both.store, &batch).await;
        }
        if rng.random_bool(0.1) {
            write(&both.cached, &batch).await;
        }
        if rng.random_bool(0.1) {
            removed = (removed + rng.random_range(1..60)).min(seq);
            let places: Vec<_> = (1..=removed).map(|seq| (pair(), Seq(seq))).collect();
            both.store.retire(&places).await.unwrap();
            if rng.random_bool(0.5) {
                both.cache.forget_messages(&[(pair(), Seq(removed + 1))].into()).await.unwrap();
            }
        }
        for _ in 0..4 {
            let at = Seq(rng.random_range(0..=seq + 3));
            let range = match rng.random_range(0..4) {
                0 => HistoryRange::Before(at),
                1 => HistoryRange::After(at),
                _ => HistoryRange::Newest,
            };
            let first = if rng.random_bool(0.7) { 1 } else { rng.random_range(1..=seq + 2) };
            both.agree_on(range, first, rng.random_range(1..80), &format!("{context}, head {seq}")).await;
        }
    }
}

pub async fn what_was_appended_is_read_from_the_cache(both: Both) {
    write(&both.cached, &[text(pair(), 1, ANN, "one")]).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "the first message").await;
    assert_eq!(both.kept().await, 1);
    write(&both.cached, &[text(pair(), 2, BEN, "two"), text(pair(), 3, BEN, "three")]).await;
    assert_eq!(both.kept().await, 3);
    both.agree_on(HistoryRange::Newest, 1, 50, "two more").await;
    both.agree_on(HistoryRange::After(Seq(1)), 1, 1, "the second").await;
}

pub async fn what_the_cache_missed_is_read_from_the_store(both: Both) {
    let all: Vec<_> = (1..=20).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&both.cached, &all[..10]).await;
    both.agree_on(HistoryRange::Newest, 1, 5, "at ten").await;
    // The cache was away for these: it has a hole, then an end that is too early.
    write(&both.store, &all[10..15]).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "the end is missing").await;
    write(&both.store, &all[15..18]).await;
    write(&both.cached, &all[18..]).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "there is a hole").await;
    both.agree_on(HistoryRange::Newest, 1, 2, "the newest are whole").await;
    assert_eq!(both.kept().await, 20);
}

pub async fn more_is_kept_where_somebody_goes_back(both: Both) {
    let all: Vec<_> = (1..=400).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&both.store, &all).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "the newest page").await;
    assert_eq!(both.kept().await, KEPT_MESSAGES);
    both.agree_on(HistoryRange::Before(Seq(351)), 1, 50, "the page before").await;
    assert_eq!(both.kept().await, HOT_MESSAGES_MAX);
    write(&both.cached, &[text(pair(), 401, ANN, "hi")]).await;
    assert_eq!(both.kept().await, HOT_MESSAGES_MAX);
}

/// The newest page tells it only with the message that was edited, from long before.
pub async fn an_edit_of_an_older_message_is_read_from_the_cache_in_the_end(both: Both) {
    let mut said: Vec<_> = (1..=250).map(|seq| text(pair(), seq, ANN, "said")).collect();
    said.push(about(Kind::Edit, 5, 250, text(pair(), 251, ANN, "edited")));
    write(&both.store, &said).await;
    for context in ["nothing is kept", "the newest are kept", "all that it takes is kept"] {
        both.agree_on(HistoryRange::Newest, 1, 10, context).await;
    }
    assert_eq!(both.kept().await, 251);
}

pub async fn a_message_recalled_long_after_is_shown_as_recalled(both: Both) {
    let mut said: Vec<_> = (1..=250).map(|seq| text(pair(), seq, ANN, "said")).collect();
    said.push(about(Kind::Edit, 5, 250, text(pair(), 251, ANN, "edited")));
    write(&both.cached, &said).await;
    both.agree_on(HistoryRange::Newest, 1, 10, "edited").await;
    both.agree_on(HistoryRange::Before(Seq(10)), 1, 10, "edited").await;
    write(&both.cached, &[about(Kind::Recall, 5, 250, text(pair(), 252, ANN, ""))]).await;
    both.agree_on(HistoryRange::Newest, 1, 10, "what the edit said is withheld").await;
    both.agree_on(HistoryRange::Before(Seq(10)), 1, 10, "recalled").await;
    let page = both.cached.history(pair(), HistoryRange::Before(Seq(6)), Seq(1), 1).await.unwrap();
    assert!(page.messages[0].recalled && page.messages[0].content.is_empty());
}

pub async fn nothing_that_a_recalled_message_said_stays_in_the_cache(both: Both) {
    let edit = |seq| about(Kind::Edit, 1, 1, text(pair(), seq, ANN, "secret too"));
    let recall = |seq| about(Kind::Recall, 1, 1, text(pair(), seq, ANN, ""));
    let check = async |context: &str| {
        for _ in 0..2 {
            let kept = both.cache.messages(pair(), Seq(1)).await.unwrap();
            assert!(kept.iter().all(|message| !message.content.contains("secret")), "{context}: {kept:?}");
            both.agree_on(HistoryRange::Newest, 1, 10, context).await;
        }
    };
    write(&both.cached, &[text(pair(), 1, ANN, "secret"), edit(2)]).await;
    both.agree_on(HistoryRange::Newest, 1, 10, "edited").await;
    write(&both.cached, &[edit(3), recall(4), text(pair(), 5, BEN, "pardon?")]).await;
    check("recalled").await;
    write(&both.cached, &[edit(3), recall(4), text(pair(), 5, BEN, "pardon?")]).await;
    check("recalled again").await;
}

pub async fn a_user_is_read_as_they_are_now(both: Both) {
    with_users(&both.store).await;
    assert_eq!(both.name(ANN).await, "ANN");
    // Twice: out of the cache, too.
    assert_eq!(both.name(ANN).await, "ANN");
    assert!(matches!(both.cache.user(ANN).await.unwrap(), Lookup::Found(_)));
    both.rename(&both.cached, ANN, "Änn").await;
    assert_eq!(both.name(ANN).await, "Änn");
    both.rename(&both.cached, ANN, "Anna").await;
    assert_eq!((both.name(ANN).await.as_str(), both.name(BEN).await.as_str()), ("Anna", "BEN"));
}

pub async fn a_user_who_comes_later_is_found(both: Both) {
    assert_eq!(both.cached.user(ANN).await.unwrap(), None);
    assert_eq!(both.cache.user(ANN).await.unwrap(), Lookup::Absent);
    both.cached.create_user(&user(ANN, "ann"), None).await.unwrap();
    assert_eq!(both.name(ANN).await, "ANN");
}

pub async fn members_are_those_of_the_newest_version(both: Both) {
    with_users(&both.store).await;
    let many = with_many_users(&both.store, 600).await;
    with_group(&both.store, &many, 1_000).await;
    for _ in 0..2 {
        let membership = both.cached.membership(GROUP).await.unwrap().unwrap();
        assert_eq!((membership.version, membership.user_ids.len(), membership.large), (1, 601, true));
    }
    assert_eq!(both.cache.membership(GROUP).await.unwrap().unwrap().version, 1);
    // Behind the cache's back, as another process does.
    let add = GroupChange::Add { user_ids: vec![CLEO] };
    both.store.change_group(GROUP, &add, &act(ANN)).await.unwrap();
    let membership = both.cached.membership(GROUP).await.unwrap().unwrap();
    assert_eq!((membership.version, membership.user_ids.contains(&CLEO)), (2, true));
    assert_eq!(both.cached.membership(schemas::ids::GroupId(1)).await.unwrap(), None);
}

pub async fn readers_at_once_get_the_same_answer(both: Both) {
    with_users(&both.store).await;
    let all: Vec<_> = (1..=50).map(|seq| text(pair(), seq, ANN, "hi")).collect();
    write(&both.store, &all).await;
    let expected = both.store.history(pair(), HistoryRange::Newest, Seq(1), 20).await.unwrap();
    let reads = (0..200).map(|_| async {
        let page = both.cached.history(pair(), HistoryRange::Newest, Seq(1), 20).await.unwrap();
        (page, both.cached.user(ANN).await.unwrap().unwrap().display_name)
    });
    for (page, name) in futures::future::join_all(reads).await {
        assert_eq!((&page, name.as_str()), (&expected, "ANN"));
    }
}
