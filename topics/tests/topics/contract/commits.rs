//! Atomic commits of outputs, positions and changelogs.

use topics::catalogue::{ACCEPTED, DELIVERIES, HEADS, UPSTREAM};
use topics::log::{Commit, LogError, Outgoing};

use super::drive::{Worker, append, join_and_start, member_spec, next_records, placed, positions, values};
use super::{CHAIN_PARTITIONS, Harness};

const ALL: usize = CHAIN_PARTITIONS as usize;

/// An output, a change for the changelog and a delivery.
fn outputs(value: &str) -> Vec<Outgoing> {
    vec![placed(&ACCEPTED.spec, 1, value), placed(&HEADS.spec, 1, value), placed(&DELIVERIES.spec, 0, value)]
}

async fn all_outputs(log: &std::sync::Arc<dyn topics::log::Log>) -> [Vec<String>; 3] {
    [values(log, &ACCEPTED.spec, 1).await, values(log, &HEADS.spec, 1).await, values(log, &DELIVERIES.spec, 0).await]
}

pub async fn outputs_and_positions_are_there_after_a_commit(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), ALL).await;
    let batches = next_records(&mut member, 1).await;
    member.commit(Commit { outputs: outputs("a"), positions: positions(&batches) }).await.unwrap();
    assert_eq!(all_outputs(&log).await, [["a"], ["a"], ["a"]]);
    assert_eq!(log.lag("workers", &UPSTREAM.spec).await.unwrap()[1].committed, Some(batches[0].next_offset));
    member.commit(Commit { outputs: outputs("b"), positions: Vec::new() }).await.unwrap();
    assert_eq!(all_outputs(&log).await, [["a", "b"], ["a", "b"], ["a", "b"]]);
}

pub async fn a_failed_commit_leaves_nothing_visible(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), ALL).await;
    let batches = next_records(&mut member, 1).await;
    let mut refused = outputs("lost");
    refused.push(placed(&ACCEPTED.spec, CHAIN_PARTITIONS, "there is no such partition"));
    let answer = member.commit(Commit { outputs: refused, positions: positions(&batches) }).await;
    assert!(matches!(answer, Err(LogError::NoSuchPartition { .. })), "{answer:?}");
    assert_eq!(all_outputs(&log).await, [[""; 0], [""; 0], [""; 0]]);
    assert_eq!(member.committed(1).await.unwrap(), None);
    // The batch is worked again from the committed position, and nothing of the first time shows.
    member.start(1, log.bounds(&UPSTREAM.spec, 1).await.unwrap().start).await.unwrap();
    let again = next_records(&mut member, 1).await;
    member.commit(Commit { outputs: outputs("a"), positions: positions(&again) }).await.unwrap();
    assert_eq!(all_outputs(&log).await, [["a"], ["a"], ["a"]]);
}

pub async fn a_zombies_commit_never_lands(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    let mut zombie = join_and_start(&log, member_spec(&UPSTREAM.spec, "same"), ALL).await;
    let batches = next_records(&mut zombie, 1).await;
    let mut heir = Worker::start(&log, member_spec(&UPSTREAM.spec, "same")).await;
    heir.owns(ALL).await;
    let late = zombie.commit(Commit { outputs: outputs("late"), positions: positions(&batches) }).await;
    assert!(matches!(late, Err(LogError::Fenced { .. } | LogError::Replaced { .. })), "{late:?}");
    let without_positions = zombie.commit(Commit { outputs: outputs("late"), positions: Vec::new() }).await;
    assert!(
        matches!(without_positions, Err(LogError::Fenced { .. } | LogError::Replaced { .. })),
        "{without_positions:?}"
    );
    assert_eq!(heir.next_worked().await, (1, "a".to_owned()), "the heir works it");
    assert_eq!(all_outputs(&log).await, [[""; 0], [""; 0], [""; 0]]);
}

pub async fn a_commit_survives_reopening(harness: &mut impl Harness) {
    let spec = member_spec(&UPSTREAM.spec, "one");
    append(&harness.log(), &UPSTREAM.spec, 1, &["a", "b"]).await;
    let mut member = join_and_start(&harness.log(), spec.clone(), ALL).await;
    let batches = next_records(&mut member, 2).await;
    let all_but_the_last = vec![(1, batches[0].next_offset - 1)];
    member.commit(Commit { outputs: outputs("a"), positions: all_but_the_last.clone() }).await.unwrap();
    // A commit with deliveries only keeps its position beside them.
    let deliveries = vec![placed(&DELIVERIES.spec, 0, "d")];
    member.commit(Commit { outputs: deliveries, positions: vec![(1, batches[0].next_offset)] }).await.unwrap();
    drop(member);
    harness.reopen().await;
    let log = harness.log();
    assert_eq!(log.lag("workers", &UPSTREAM.spec).await.unwrap()[1].records, 0);
    let mut member = join_and_start(&log, spec, ALL).await;
    append(&log, &UPSTREAM.spec, 1, &["c"]).await;
    let batches = next_records(&mut member, 1).await;
    assert_eq!(super::drive::text(&batches[0].records[0]), "c");
    assert_eq!(values(&log, &DELIVERIES.spec, 0).await, ["a", "d"]);
}
