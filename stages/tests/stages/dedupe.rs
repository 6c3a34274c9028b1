//! What was said within the window is said once.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::{DedupeWindow, Sequenced, Upstream};
use stages::dedupe::Dedupe;
use stages::driver::{Driver, Fate};
use stages::id_assign::IdAssign;
use stages::stage::{Context, Input, Output, Stage, StageError};
use stages::stream::{Batch, Made, StageExt};

use crate::records::{ANN, BOB, NOW, of_kind, said};

const WINDOW_MS: i64 = 600_000;
const WORLD: ConversationId = ConversationId::World;

fn driver() -> Driver<Dedupe> {
    Driver::new(2, NOW, || Dedupe::new(WINDOW_MS))
}

/// Feeds a batch of what Ann says in the world, and expects these clientMsgIds to pass.
async fn check(driver: &mut Driver<Dedupe>, ids: &[&str], expected: &[&str]) {
    let passed = driver.feed_values(0, ids.iter().map(|id| said(WORLD, ANN, id))).await.unwrap();
    let passed: Vec<&str> = passed.iter().map(|record| &*record.client_msg_id).collect();
    assert_eq!(passed, expected);
}

#[tokio::test]
async fn repeats_in_a_batch_and_across_batches_are_dropped() {
    let mut driver = driver();
    check(&mut driver, &["a", "b", "a", "a"], &["a", "b"]).await;
    check(&mut driver, &["b", "c", "a"], &["c"]).await;
    assert_eq!(driver.changelog(0).len(), 2, "one record a batch");
    check(&mut driver, &["b"], &[]).await;
    assert_eq!(driver.changelog(0).len(), 2, "nothing new, no record");
}

#[tokio::test]
async fn the_key_is_conversation_sender_and_client_msg_id() {
    let mut driver = driver();
    let pair = ConversationId::single(ANN, BOB);
    let distinct = vec![
        said(WORLD, ANN, "a"),
        said(WORLD, BOB, "a"),
        said(pair, ANN, "a"),
        said(ConversationId::Group(GroupId(1)), ANN, "a"),
        said(ConversationId::Group(GroupId(2)), ANN, "a"),
        said(WORLD, ANN, "A"),
        said(WORLD, ANN, &"é".repeat(64)),
        said(WORLD, ANN, &"é".repeat(300)),
    ];
    assert_eq!(driver.feed_values(0, distinct.clone()).await.unwrap(), distinct);
    assert_eq!(driver.feed_values(0, distinct).await.unwrap(), []);
}

#[tokio::test]
async fn what_has_no_client_msg_id_always_passes() {
    let mut driver = driver();
    let mark = || of_kind(Kind::ReadMark, WORLD, ANN, "");
    assert_eq!(driver.feed_values(0, [mark(), mark()]).await.unwrap().len(), 2);
    // What was passed on is told by the changelog: so does its position.
    assert_eq!(driver.changelog(0), [DedupeWindow { hashes: Vec::new(), times: Vec::new() }]);
}

#[tokio::test]
async fn the_window_counts_from_the_first_copy_and_is_not_renewed() {
    let mut driver = driver();
    check(&mut driver, &["a"], &["a"]).await;
    driver.clock().advance_ms(WINDOW_MS);
    check(&mut driver, &["a"], &[]).await;
    driver.clock().advance_ms(1);
    check(&mut driver, &["a"], &["a"]).await;
    assert_eq!(driver.stage().live_keys(), 1);
}

#[tokio::test]
async fn a_log_whose_time_steps_back_forgets_nothing() {
    let mut driver = driver();
    check(&mut driver, &["a"], &["a"]).await;
    driver.clock().advance_ms(-2 * WINDOW_MS);
    check(&mut driver, &["a", "b"], &["b"]).await;
    driver.clock().advance_ms(2 * WINDOW_MS);
    check(&mut driver, &["a", "b"], &[]).await;
}

#[tokio::test]
async fn a_restart_knows_the_window_and_no_more() {
    let mut driver = driver();
    check(&mut driver, &["old"], &["old"]).await;
    driver.clock().advance_ms(WINDOW_MS / 2);
    check(&mut driver, &["a"], &["a"]).await;
    driver.clock().advance_ms(WINDOW_MS / 2 + 1);
    check(&mut driver, &["b"], &["b"]).await;
    driver.crash();
    assert_eq!(driver.stage().live_keys(), 2);
    check(&mut driver, &["a", "b", "old"], &["old"]).await;
}

#[tokio::test]
async fn what_was_not_committed_was_never_there() {
    let mut driver = driver();
    check(&mut driver, &["a"], &["a"]).await;
    driver.clock().advance_ms(WINDOW_MS + 1);
    for fate in [Fate::Abort, Fate::Crash] {
        driver.next_fate(fate);
        // Evicts the first "a" and adds it again: both are undone.
        check(&mut driver, &["b", "a"], &["b", "a"]).await;
        assert_eq!((driver.stage().live_keys(), driver.changelog(0).len()), (1, 1), "{fate:?}");
    }
    driver.clock().advance_ms(-1);
    check(&mut driver, &["a", "b"], &["b"]).await;
}

#[tokio::test]
async fn partitions_are_apart_and_are_given_up_whole() {
    let mut driver = driver();
    driver.feed_values(0, [said(WORLD, ANN, "a")]).await.unwrap();
    assert_eq!(driver.feed_values(1, [said(WORLD, ANN, "a")]).await.unwrap().len(), 1);
    driver.stage().revoked(0);
    assert_eq!(driver.stage().live_keys(), 1);
    let refused = driver.feed_values(0, [said(WORLD, ANN, "b")]).await;
    assert!(matches!(refused, Err(StageError::Fatal { .. })));
}

/// The plain meaning of the stage: remember every first copy and its time.
#[derive(Default, Clone)]
struct Model(HashMap<(ConversationId, UserId, Box<str>), i64>);

impl Model {
    fn passes(&mut self, record: &Upstream, time_ms: i64) -> bool {
        let key = (record.conversation_id, record.sender_id, record.client_msg_id.clone());
        let repeat = self.0.get(&key).is_some_and(|first| time_ms - first <= WINDOW_MS);
        if !repeat {
            self.0.insert(key, time_ms);
        }
        !repeat
    }
}

fn random_batch(random: &mut StdRng) -> Vec<Upstream> {
    let record = |random: &mut StdRng| {
        let sender = UserId(random.random_range(1..4));
        let conversation = ConversationId::single(sender, UserId(random.random_range(1..4)));
        said(conversation, sender, &random.random_range(0..60).to_string())
    };
    (0..random.random_range(1..30)).map(|_| record(random)).collect()
}

fn random_fate(random: &mut StdRng) -> Fate {
    match random.random_range(0..6) {
        0 => Fate::Abort,
        1 => Fate::Crash,
        _ => Fate::Commit,
    }
}

#[tokio::test]
async fn whatever_happens_it_does_as_the_model_says() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut driver, mut model) = (driver(), Model::default());
        for _ in 0..200 {
            driver.clock().advance_ms(random.random_range(0..WINDOW_MS / 10));
            let batch = random_batch(&mut random);
            let fate = random_fate(&mut random);
            let mut after = model.clone();
            let now = driver.clock().now_ms();
            let expected: Vec<_> = batch.iter().filter(|record| after.passes(record, now)).cloned().collect();
            driver.next_fate(fate);
            assert_eq!(driver.feed_values(0, batch).await.unwrap(), expected, "seed {seed}");
            if fate == Fate::Commit {
                model = after;
            }
        }
    }
}

#[tokio::test]
async fn fused_with_id_assign_it_makes_the_same() {
    let mut random = StdRng::seed_from_u64(3);
    let mut alone = (driver(), Driver::new(2, NOW, || IdAssign::new(1)));
    let mut fused = Driver::new(2, NOW, || Dedupe::new(WINDOW_MS).then(IdAssign::new(1)));
    for _ in 0..100 {
        let step = random.random_range(0..WINDOW_MS / 10);
        [alone.0.clock(), alone.1.clock(), fused.clock()].iter().for_each(|clock| clock.advance_ms(step));
        let batch = random_batch(&mut random);
        let fate = random_fate(&mut random);
        fused.next_fate(fate);
        alone.0.next_fate(fate);
        alone.1.next_fate(fate);
        let accepted = alone.0.feed_values(0, batch.clone()).await.unwrap();
        let inputs: Vec<Input<_>> = alone.1.inputs(0, accepted);
        let apart: Vec<_> = alone.1.feed(inputs).await.unwrap().records.into_iter().map(|out| out.value).collect();
        assert_eq!(fused.feed_values(0, batch).await.unwrap(), apart);
    }
    let changes = alone.0.changelog(0).len() + alone.1.changelog(0).len();
    assert_eq!(fused.changelog(0).len(), changes, "the changelogs are the same too");
}

#[tokio::test]
async fn over_a_stream_of_batches_the_stages_make_the_same_apart_as_fused() {
    let mut random = StdRng::seed_from_u64(4);
    let mut source = driver();
    let context = Context { now_ms: NOW, ids_not_after_ms: None };
    let batches: Vec<_> = (0..50).map(|_| source.inputs(0, random_batch(&mut random))).collect();
    let batches = || stream::iter(batches.clone().into_iter().map(|records| Ok(Batch { records, context })));
    let (mut dedupe, mut ids) = (Dedupe::new(WINDOW_MS), IdAssign::new(1));
    dedupe.assigned(0);
    ids.assigned(0);
    let mut fused = Dedupe::new(WINDOW_MS).then(IdAssign::new(1));
    fused.assigned(0);
    let apart: Vec<Made<Sequenced, _>> = batches().stage(dedupe).stage(ids).try_collect().await.unwrap();
    let fused: Vec<Made<Sequenced, _>> = batches().stage(fused).try_collect().await.unwrap();
    let values = |outputs: &[Output<Sequenced>]| outputs.iter().map(|out| out.value.clone()).collect::<Vec<_>>();
    for (apart, fused) in apart.iter().zip(&fused) {
        assert_eq!(values(&apart.outputs.records), values(&fused.outputs.records));
    }
    assert_eq!((apart.len(), fused.len()), (50, 50));
}

#[tokio::test]
async fn over_a_stream_a_batch_that_fails_leaves_nothing_behind_and_the_next_is_worked() {
    let mut source = driver();
    let context = Context { now_ms: NOW, ids_not_after_ms: None };
    let mut stage = Dedupe::new(WINDOW_MS);
    stage.assigned(0);
    // The second batch ends with a record of a partition that the stage does not have.
    let mut second = source.inputs(0, [said(WORLD, ANN, "b")]);
    second.extend(source.inputs(1, [said(WORLD, ANN, "c")]));
    let batches = [
        source.inputs(0, [said(WORLD, ANN, "a")]),
        second,
        source.inputs(0, ["a", "b"].map(|id| said(WORLD, ANN, id))),
    ];
    let batches = stream::iter(batches.into_iter().map(|records| Ok(Batch { records, context })));
    let made: Vec<Result<Made<Upstream, _>, StageError>> = batches.stage(stage).collect().await;
    let passed: Vec<Option<usize>> =
        made.into_iter().map(|made| made.ok().map(|made| made.outputs.records.len())).collect();
    assert_eq!(passed, [Some(1), None, Some(1)]);
}
