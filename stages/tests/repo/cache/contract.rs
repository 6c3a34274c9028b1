//! What every cache does, wherever it keeps things.
//!
//! `cache_contract!(factory)` makes a module of tests of the factory's name, each on a fresh cache.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::records::Sequenced;
use stages::repo::cache::hot::Run;
use stages::repo::cache::{Cache, HOT_MESSAGES_MAX, KEPT_MESSAGES, Lifetimes, Lookup, UserSession};
use stages::repo::model::{Membership, User, UserStatus};

use crate::fixtures::{ANN, BEN, DAN, GROUP, NOW, group, pair, text, user};

/// All tests of the contract over the caches that a factory makes.
macro_rules! cache_contract {
    ($factory:ident) => {
        $crate::cache::contract::cache_tests!($factory: [
            what_is_kept_comes_back_as_it_was,
            that_there_is_no_such_user_is_kept_too,
            what_was_read_before_a_change_is_not_kept_after_it,
            what_is_kept_of_a_user_is_not_replaced,
            a_session_takes_the_place_of_the_one_before,
            messages_come_by_seq_each_once,
            an_older_part_does_not_touch_a_newer_run,
            a_hole_is_never_taken_for_a_whole_run,
            the_newest_messages_are_kept,
            an_append_keeps_as_many_as_readers_have_asked_for,
            conversations_are_kept_apart,
            what_is_forgotten_of_a_conversation_is_gone_and_the_rest_stays,
            a_batch_of_many_conversations_is_appended_at_once,
        ]);
    };
}
pub(crate) use cache_contract;

macro_rules! cache_tests {
    ($factory:ident: [$($test:ident,)*]) => {
        mod contract {
            $(
                #[tokio::test]
                async fn $test() {
                    $crate::cache::contract::$test(super::$factory(stages::repo::cache::Lifetimes::default())).await;
                }
            )*

            #[tokio::test]
            async fn everything_is_gone_after_its_lifetime() {
                let cache = super::$factory($crate::cache::contract::SHORT);
                $crate::cache::contract::everything_is_gone_after_its_lifetime(cache).await;
            }
        }
    };
}
pub(crate) use cache_tests;

/// Lifetimes that a test can wait for.
pub const SHORT: Lifetimes = Lifetimes {
    user: Duration::from_secs(1),
    absent_user: Duration::from_secs(1),
    forgotten_user: Duration::from_secs(1),
    session: Duration::from_secs(1),
    messages: Duration::from_secs(1),
    membership: Duration::from_secs(1),
};

type Dyn = Arc<dyn Cache>;

/// Messages of a conversation, one a seq.
pub fn run_of(conversation: ConversationId, seqs: RangeInclusive<i64>, content: &str) -> Vec<Arc<Sequenced>> {
    seqs.map(|seq| Arc::new(text(conversation, seq, ANN, content))).collect()
}

/// Appends what the chain has stored, as persist does.
async fn append(cache: &Dyn, run: &[Arc<Sequenced>]) {
    cache.append(&run.iter().map(|message| &**message).collect::<Vec<_>>()).await.unwrap();
}

async fn seqs(cache: &Dyn, conversation: ConversationId, from: i64) -> Vec<i64> {
    let messages = cache.messages(conversation, Seq(from)).await.unwrap();
    messages.iter().map(|message| message.seq_id.0).collect()
}

/// Whether a history from a seq on can be told from what is kept.
async fn is_whole(cache: &Dyn, from: i64, head: i64) -> bool {
    Run::of(cache.messages(pair(), Seq(from)).await.unwrap(), Seq(from), Seq(head)).is_some()
}

fn session(gateway: &str) -> UserSession {
    UserSession { user_id: DAN, gateway_id: gateway.into(), login_at: NOW, last_seen: NOW + 1 }
}

fn membership(version: i64) -> Membership {
    Membership { group_id: GROUP, version, large: true, user_ids: vec![ANN, BEN, DAN] }
}

pub async fn what_is_kept_comes_back_as_it_was(cache: Dyn) {
    let known = User {
        display_name: "'); DROP TABLE users; -- 👩‍🚀 \r\n\u{202e}".into(),
        avatar_url: "https://example.org/ä?b=c&d".into(),
        status: UserStatus::Banned,
        ..user(DAN, "dan")
    };
    assert_eq!(cache.user(DAN).await.unwrap(), Lookup::Unknown);
    cache.put_user(DAN, Some(&known)).await.unwrap();
    assert_eq!(cache.user(DAN).await.unwrap(), Lookup::Found(known));
    assert_eq!(cache.session(DAN).await.unwrap(), None);
    cache.put_session(&session("gateway \"7\"")).await.unwrap();
    assert_eq!(cache.session(DAN).await.unwrap(), Some(session("gateway \"7\"")));
    assert_eq!(cache.membership(GROUP).await.unwrap(), None);
    cache.put_membership(&membership(3)).await.unwrap();
    assert_eq!(*cache.membership(GROUP).await.unwrap().unwrap(), membership(3));
    let mut message = text(pair(), 1, ANN, "👋 \u{200d} \"{}\" \r\n");
    message.target_seq = Some(Seq(i64::MAX));
    message.remove = true;
    cache.fill(pair(), &[Arc::new(message.clone())]).await.unwrap();
    assert_eq!(*cache.messages(pair(), Seq(1)).await.unwrap()[0], message);
}

pub async fn that_there_is_no_such_user_is_kept_too(cache: Dyn) {
    cache.put_user(ANN, None).await.unwrap();
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Absent);
    cache.forget_user(ANN).await.unwrap();
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Unknown);
}

pub async fn what_was_read_before_a_change_is_not_kept_after_it(cache: Dyn) {
    cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    cache.forget_user(ANN).await.unwrap();
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Unknown);
    // Somebody read Ann before she changed, and comes with it now.
    cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Unknown);
}

pub async fn what_is_kept_of_a_user_is_not_replaced(cache: Dyn) {
    cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    cache.put_user(ANN, None).await.unwrap();
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Found(user(ANN, "ann")));
}

pub async fn a_session_takes_the_place_of_the_one_before(cache: Dyn) {
    cache.put_session(&session("gateway-1")).await.unwrap();
    cache.put_session(&session("gateway-2")).await.unwrap();
    assert_eq!(cache.session(DAN).await.unwrap(), Some(session("gateway-2")));
    assert_eq!(cache.session(ANN).await.unwrap(), None);
}

pub async fn messages_come_by_seq_each_once(cache: Dyn) {
    cache.fill(pair(), &run_of(pair(), 5..=9, "from the store")).await.unwrap();
    append(&cache, &run_of(pair(), 8..=12, "from the chain")).await;
    append(&cache, &run_of(pair(), 8..=12, "from the chain")).await;
    cache.fill(pair(), &run_of(pair(), 3..=10, "from the store, later")).await.unwrap();
    assert_eq!(seqs(&cache, pair(), 1).await, (3..=12).collect::<Vec<_>>());
    assert_eq!(seqs(&cache, pair(), 11).await, [11, 12]);
    assert!(seqs(&cache, pair(), 13).await.is_empty());
    assert!(is_whole(&cache, 3, 12).await && is_whole(&cache, 7, 11).await);
    assert!(!is_whole(&cache, 2, 12).await && !is_whole(&cache, 3, 13).await);
}

pub async fn an_older_part_does_not_touch_a_newer_run(cache: Dyn) {
    cache.fill(pair(), &run_of(pair(), 50..=60, "new")).await.unwrap();
    append(&cache, &run_of(pair(), 10..=20, "replayed")).await;
    assert!(is_whole(&cache, 50, 60).await && !is_whole(&cache, 49, 60).await);
}

pub async fn a_hole_is_never_taken_for_a_whole_run(cache: Dyn) {
    cache.fill(pair(), &run_of(pair(), 1..=10, "before")).await.unwrap();
    append(&cache, &run_of(pair(), 13..=14, "after")).await;
    assert!(!is_whole(&cache, 1, 14).await && !is_whole(&cache, 10, 14).await);
    assert!(is_whole(&cache, 13, 14).await);
    let mut batch = run_of(pair(), 15..=16, "with a hole");
    batch.extend(run_of(pair(), 18..=19, "with a hole"));
    append(&cache, &batch).await;
    assert!(!is_whole(&cache, 15, 19).await);
    cache.fill(pair(), &run_of(pair(), 1..=19, "from the store")).await.unwrap();
    assert!(is_whole(&cache, 1, 19).await);
}

pub async fn the_newest_messages_are_kept(cache: Dyn) {
    let max = i64::try_from(HOT_MESSAGES_MAX).unwrap();
    cache.fill(pair(), &run_of(pair(), 1..=max, "hi")).await.unwrap();
    append(&cache, &run_of(pair(), max + 1..=max + 7, "hi")).await;
    assert_eq!(seqs(&cache, pair(), 1).await, (8..=max + 7).collect::<Vec<_>>());
    // A batch of more than that, and an old one again after it.
    append(&cache, &run_of(pair(), max + 8..=5 * max, "hi")).await;
    append(&cache, &run_of(pair(), max + 8..=max + 9, "hi")).await;
    assert_eq!(seqs(&cache, pair(), 1).await, (4 * max + 1..=5 * max).collect::<Vec<_>>());
}

pub async fn an_append_keeps_as_many_as_readers_have_asked_for(cache: Dyn) {
    let kept = async || seqs(&cache, pair(), 1).await;
    let newest = |count: usize, head: i64| (head + 1 - i64::try_from(count).unwrap()..=head).collect::<Vec<_>>();
    cache.fill(pair(), &run_of(pair(), 1..=5, "hi")).await.unwrap();
    for from in (6..=496).step_by(10) {
        append(&cache, &run_of(pair(), from..=from + 9, "hi")).await;
    }
    assert_eq!(kept().await, newest(KEPT_MESSAGES, 505));
    // What most readers ask for does not make it more.
    cache.fill(pair(), &run_of(pair(), 496..=505, "hi")).await.unwrap();
    assert_eq!(kept().await, newest(KEPT_MESSAGES, 505));
    // Somebody has gone back.
    cache.fill(pair(), &run_of(pair(), 256..=505, "hi")).await.unwrap();
    assert_eq!(kept().await, newest(250, 505));
    append(&cache, &run_of(pair(), 506..=530, "hi")).await;
    append(&cache, &run_of(pair(), 526..=530, "again")).await;
    assert_eq!(kept().await, newest(250, 530));
    // After a hole what was there is of no use.
    append(&cache, &run_of(pair(), 2_001..=2_400, "hi")).await;
    assert!(kept().await.len() <= HOT_MESSAGES_MAX && is_whole(&cache, 2_401 - 250, 2_400).await);
}

pub async fn conversations_are_kept_apart(cache: Dyn) {
    for conversation in [pair(), group(), ConversationId::World] {
        cache.fill(conversation, &run_of(conversation, 1..=2, "hi")).await.unwrap();
    }
    assert_eq!(cache.messages(group(), Seq(1)).await.unwrap(), run_of(group(), 1..=2, "hi"));
    assert!(seqs(&cache, ConversationId::Group(GroupId(1)), 1).await.is_empty());
}

pub async fn what_is_forgotten_of_a_conversation_is_gone_and_the_rest_stays(cache: Dyn) {
    for conversation in [pair(), group(), ConversationId::World] {
        cache.fill(conversation, &run_of(conversation, 1..=10, "hi")).await.unwrap();
    }
    let below = [(pair(), Seq(7)), (group(), Seq(i64::MAX)), (ConversationId::Group(GroupId(1)), Seq(5))];
    cache.forget_messages(&below.into()).await.unwrap();
    assert_eq!((seqs(&cache, pair(), 1).await, seqs(&cache, group(), 1).await), ((7..=10).collect(), vec![]));
    assert_eq!(seqs(&cache, ConversationId::World, 1).await.len(), 10);
    append(&cache, &run_of(pair(), 11..=12, "hi")).await;
    assert_eq!(seqs(&cache, pair(), 1).await, (7..=12).collect::<Vec<_>>());
}

pub async fn a_batch_of_many_conversations_is_appended_at_once(cache: Dyn) {
    let conversation = |n| ConversationId::single(UserId(n), UserId(n + 1));
    let mut batch = Vec::new();
    for n in 1..=200 {
        cache.fill(conversation(n), &run_of(conversation(n), 1..=1, "hi")).await.unwrap();
        batch.extend(run_of(conversation(n), 2..=5, "hi"));
    }
    append(&cache, &batch).await;
    for n in 1..=200 {
        assert_eq!(seqs(&cache, conversation(n), 1).await, [1, 2, 3, 4, 5]);
    }
}

pub async fn everything_is_gone_after_its_lifetime(cache: Dyn) {
    cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    cache.put_user(BEN, None).await.unwrap();
    cache.put_session(&session("gateway-1")).await.unwrap();
    cache.put_membership(&membership(3)).await.unwrap();
    cache.fill(pair(), &run_of(pair(), 1..=3, "hi")).await.unwrap();
    let gone = async {
        while cache.user(ANN).await.unwrap() != Lookup::Unknown
            || cache.user(BEN).await.unwrap() != Lookup::Unknown
            || cache.session(DAN).await.unwrap().is_some()
            || cache.membership(GROUP).await.unwrap().is_some()
            || !seqs(&cache, pair(), 1).await.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("a second passes");
    // And what was forgotten may be kept again.
    cache.forget_user(ANN).await.unwrap();
    let kept = async {
        while cache.user(ANN).await.unwrap() == Lookup::Unknown {
            cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), kept).await.expect("a second passes");
}
