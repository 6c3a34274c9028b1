//! Every message gets an identity that is its own, and every conversation counts without a gap.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq};
use schemas::kind::Kind;
use schemas::records::{Sequenced, Upstream};
use stages::driver::{Driver, Fate};
use stages::id_assign::IdAssign;
use stages::stage::{Stage, StageError};

use crate::records::{ANN, BOB, NOW, of_kind, said};

const WORLD: ConversationId = ConversationId::World;

fn driver() -> Driver<IdAssign> {
    Driver::new(2, NOW, || IdAssign::new(5))
}

fn group(id: i64) -> ConversationId {
    ConversationId::Group(GroupId(id))
}

async fn say(driver: &mut Driver<IdAssign>, conversation: ConversationId, count: usize) -> Vec<Sequenced> {
    driver.feed_values(0, (0..count).map(|_| said(conversation, ANN, "a"))).await.unwrap()
}

fn seqs(messages: &[Sequenced]) -> Vec<i64> {
    messages.iter().map(|message| message.seq_id.0).collect()
}

#[tokio::test]
async fn each_conversation_counts_for_itself() {
    let mut driver = driver();
    let pair = ConversationId::single(ANN, BOB);
    let batch = [WORLD, pair, WORLD, group(1), pair, WORLD].map(|conversation| said(conversation, ANN, "a"));
    assert_eq!(seqs(&driver.feed_values(0, batch).await.unwrap()), [1, 1, 2, 1, 2, 3]);
    assert_eq!(driver.changelog(0).len(), 3, "one head a conversation a batch");
    assert_eq!(seqs(&say(&mut driver, pair, 2).await), [3, 4]);
    assert_eq!(driver.stage().conversations(), 3);
}

#[tokio::test]
async fn only_what_counts_as_unread_raises_the_ordinal() {
    let mut driver = driver();
    let kinds = [Kind::Text, Kind::Edit, Kind::ReadMark, Kind::Image, Kind::Joined, Kind::Unknown("poll".into())];
    let batch = kinds.map(|kind| of_kind(kind, WORLD, ANN, "a"));
    let messages = driver.feed_values(0, batch).await.unwrap();
    assert_eq!(seqs(&messages), [1, 2, 0, 3, 4, 5]);
    assert_eq!(messages.iter().map(|message| message.ordinal).collect::<Vec<_>>(), [1, 1, 0, 2, 2, 2]);
    let mark = &messages[2];
    assert_eq!((mark.message_id, mark.seq_id, mark.created_at), (MessageId(0), Seq(0), NOW));
}

#[tokio::test]
async fn a_read_mark_reaches_no_further_than_the_newest_message() {
    let mut driver = driver();
    let mark =
        |conversation, seq| Upstream { target_seq: Some(Seq(seq)), ..of_kind(Kind::ReadMark, conversation, BOB, "") };
    let batch = [mark(WORLD, 9), said(WORLD, ANN, "a"), said(WORLD, ANN, "b"), mark(WORLD, 1), mark(WORLD, i64::MAX)];
    let marked = |messages: Vec<Sequenced>| {
        let marks = messages.into_iter().filter(|message| message.kind == Kind::ReadMark);
        marks.map(|mark| mark.target_seq.unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(marked(driver.feed_values(0, batch).await.unwrap()), [0, 1, 2]);
    driver.crash();
    let batch = [mark(WORLD, 3), mark(group(1), 3)];
    assert_eq!(marked(driver.feed_values(0, batch).await.unwrap()), [2, 0]);
}

#[tokio::test]
async fn a_batch_without_sequenced_kinds_changes_nothing() {
    let mut driver = driver();
    driver.feed_values(0, [of_kind(Kind::ReadMark, WORLD, ANN, "")]).await.unwrap();
    assert!(driver.changelog(0).is_empty());
    assert_eq!(seqs(&say(&mut driver, WORLD, 1).await), [1]);
}

#[tokio::test]
async fn ids_never_repeat_when_the_clock_steps_back_or_the_counter_is_spent() {
    let mut driver = driver();
    let mut ids = Vec::new();
    let mut created = Vec::new();
    for step in [0, 5, -60_000, 1, -3_600_000] {
        driver.clock().advance_ms(step);
        for message in say(&mut driver, WORLD, 5_000).await {
            ids.push(message.message_id);
            created.push(message.created_at);
        }
        driver.crash();
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 25_000);
    assert!(ids.is_sorted(), "a later message has the greater id");
    assert!(created.is_sorted(), "time in a conversation never goes back");
}

#[tokio::test]
async fn an_aborted_commit_or_a_crash_leaves_no_gap_and_repeats_no_seq() {
    let mut driver = driver();
    assert_eq!(seqs(&say(&mut driver, WORLD, 2).await), [1, 2]);
    for fate in [Fate::Abort, Fate::Crash, Fate::Abort] {
        driver.next_fate(fate);
        assert_eq!(seqs(&say(&mut driver, WORLD, 3).await), [3, 4, 5]);
        driver.next_fate(fate);
        assert_eq!(seqs(&say(&mut driver, group(9), 2).await), [1, 2], "{fate:?}");
        assert_eq!(driver.stage().conversations(), 1);
    }
    let last = say(&mut driver, WORLD, 1).await;
    assert_eq!((seqs(&last), last[0].ordinal), (vec![3], 3));
}

#[tokio::test]
async fn no_id_is_made_beyond_the_lease_and_the_batch_can_be_tried_again() {
    let mut driver = driver();
    assert_eq!(seqs(&say(&mut driver, WORLD, 1).await), [1]);
    driver.ids_not_after_ms = Some(NOW + 1);
    let batch = || (0..10_000).map(|_| said(WORLD, ANN, "a"));
    let ends = driver.feed_values(0, batch()).await;
    let Err(StageError::Retry { source, .. }) = ends else { panic!("{ends:?}") };
    assert!(source.unwrap().to_string().contains("instance id 5"));
    driver.ids_not_after_ms = Some(NOW + 10_000);
    let messages = driver.feed_values(0, batch()).await.unwrap();
    assert_eq!((messages[0].seq_id, messages[9_999].seq_id), (Seq(2), Seq(10_001)));
}

#[tokio::test]
async fn a_taken_over_partition_goes_on_above_the_former_owners_ids() {
    let mut former = Driver::new(2, NOW + 60_000, || IdAssign::new(1));
    let before = say(&mut former, WORLD, 3).await;
    let mut next = Driver::new(2, NOW, || IdAssign::new(2));
    next.stage().assigned(0);
    next.stage().restore(0, former.changelog(0).to_vec());
    let after = say(&mut next, WORLD, 1).await;
    assert_eq!(after[0].seq_id, Seq(4));
    assert!(after[0].message_id > before[2].message_id && after[0].created_at >= before[2].created_at);
    next.stage().revoked(0);
    assert_eq!(next.stage().conversations(), 0);
}

#[tokio::test]
async fn whatever_happens_seqs_are_gapless_and_ids_unique() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut driver = driver();
        let mut newest: HashMap<ConversationId, (i64, i64)> = HashMap::new();
        let mut ids = HashSet::new();
        for _ in 0..150 {
            driver.clock().advance_ms(random.random_range(-50..100));
            let kinds = [Kind::Text, Kind::Edit, Kind::ReadMark];
            let batch: Vec<_> = (0..random.random_range(1..40))
                .map(|_| {
                    let kind = kinds[random.random_range(0..3)].clone();
                    of_kind(kind, group(random.random_range(1..8)), ANN, "a")
                })
                .collect();
            let fate = [Fate::Commit, Fate::Commit, Fate::Abort, Fate::Crash][random.random_range(0..4)];
            driver.next_fate(fate);
            let messages = driver.feed_values(0, batch).await.unwrap();
            if fate != Fate::Commit {
                continue;
            }
            for message in messages.iter().filter(|message| message.kind.rules().sequenced) {
                let (seq, ordinal) = newest.entry(message.conversation_id).or_default();
                *seq += 1;
                *ordinal += i64::from(message.kind == Kind::Text);
                assert_eq!((message.seq_id.0, message.ordinal), (*seq, *ordinal), "seed {seed}");
                assert!(ids.insert(message.message_id), "seed {seed}: {} was given twice", message.message_id);
            }
        }
    }
}
