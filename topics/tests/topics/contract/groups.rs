//! Consumer groups: who gets which partitions, and what of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use topics::catalogue::UPSTREAM;
use topics::log::{Commit, Event, LogError, MemberSpec};

use super::drive::{WAIT_MAX, Worker, append, join_and_start, member_spec, next, next_records, positions, text};
use super::{CHAIN_PARTITIONS, Harness};

const ALL: usize = CHAIN_PARTITIONS as usize;

pub async fn a_lone_member_gets_every_partition_and_every_record(harness: &mut impl Harness) {
    let log = harness.log();
    for partition in 0..CHAIN_PARTITIONS {
        append(&log, &UPSTREAM.spec, partition, &["early"]).await;
    }
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), ALL).await;
    let early = next_records(&mut member, ALL).await;
    assert_eq!(early.iter().map(|batch| batch.partition).collect::<BTreeSet<_>>(), (0..CHAIN_PARTITIONS).collect());
    append(&log, &UPSTREAM.spec, 2, &["late"]).await;
    let late = next_records(&mut member, 1).await;
    assert_eq!((late[0].partition, text(&late[0].records[0])), (2, "late".to_owned()));
}

pub async fn members_share_partitions_as_they_join_and_leave(harness: &mut impl Harness) {
    let log = harness.log();
    let mut one = Worker::start(&log, member_spec(&UPSTREAM.spec, "one")).await;
    assert_eq!(one.owns(ALL).await.len(), ALL);
    let mut two = Worker::start(&log, member_spec(&UPSTREAM.spec, "two")).await;
    let (of_one, of_two) = (one.owns(ALL / 2).await, two.owns(ALL / 2).await);
    assert!(of_one.is_disjoint(&of_two), "{of_one:?} {of_two:?}");
    let mut expected = BTreeMap::new();
    for partition in 0..CHAIN_PARTITIONS {
        append(&log, &UPSTREAM.spec, partition, &[&format!("of {partition}")]).await;
        expected.insert(partition, format!("of {partition}"));
    }
    let mut worked = BTreeMap::new();
    for _ in 0..ALL / 2 {
        worked.extend([one.next_worked().await, two.next_worked().await]);
    }
    assert_eq!(worked, expected);
    one.leave().await;
    assert_eq!(two.owns(ALL).await.len(), ALL);
    append(&log, &UPSTREAM.spec, *of_one.first().unwrap(), &["after"]).await;
    assert_eq!(two.next_worked().await, (*of_one.first().unwrap(), "after".to_owned()));
}

pub async fn a_member_that_dies_silently_loses_its_partitions(harness: &mut impl Harness) {
    let log = harness.log();
    let patience = Duration::from_secs(2);
    let spec = MemberSpec { poll_interval_max: patience, ..member_spec(&UPSTREAM.spec, "silent") };
    let mut silent = join_and_start(&log, spec, ALL).await;
    // From here on it does not call.
    let mut heir = Worker::start(&log, member_spec(&UPSTREAM.spec, "heir")).await;
    assert_eq!(heir.owns(ALL).await.len(), ALL);
    let late = silent.commit(Commit { outputs: Vec::new(), positions: vec![(0, 0)] }).await;
    assert!(matches!(late, Err(LogError::Fenced { .. })), "{late:?}");
    match next(&mut silent).await.unwrap() {
        Event::Lost(lost) => assert_eq!(lost.len(), ALL),
        other => panic!("{other:?} came before the loss"),
    }
}

pub async fn a_second_member_of_the_same_name_fences_the_first(harness: &mut impl Harness) {
    let log = harness.log();
    let mut first = Worker::start(&log, member_spec(&UPSTREAM.spec, "same")).await;
    first.owns(ALL).await;
    let mut second = Worker::start(&log, member_spec(&UPSTREAM.spec, "same")).await;
    second.owns(ALL).await;
    let end = first.error().await;
    assert!(matches!(end, Some(LogError::Fenced { .. } | LogError::Replaced { .. })), "{end:?}");
}

pub async fn revoked_partitions_can_be_committed_until_they_are_given_up(harness: &mut impl Harness) {
    let log = harness.log();
    let spec = member_spec(&UPSTREAM.spec, "old");
    let mut old = join_and_start(&log, spec.clone(), ALL).await;
    for partition in 0..CHAIN_PARTITIONS {
        append(&log, &UPSTREAM.spec, partition, &["a"]).await;
    }
    let worked = next_records(&mut old, ALL).await;
    let mut new = Worker::start(&log, MemberSpec { instance: "new".into(), ..spec }).await;
    let revoked = match next(&mut old).await.unwrap() {
        Event::Revoked(revoked) => revoked,
        other => panic!("{other:?} came before the revocation"),
    };
    assert_eq!(revoked.len(), ALL / 2);
    assert!(new.owned.borrow().is_empty(), "the old owner did not give the partitions up yet");
    old.commit(Commit { outputs: Vec::new(), positions: positions(&worked) }).await.unwrap();
    let waiting = tokio::spawn(async move { old.next().await });
    assert_eq!(new.owns(ALL / 2).await, revoked.iter().copied().collect());
    append(&log, &UPSTREAM.spec, revoked[0], &["b"]).await;
    assert_eq!(new.next_worked().await, (revoked[0], "b".to_owned()), "the committed position was not taken over");
    waiting.abort();
}

pub async fn a_batch_keeps_its_limits_and_no_partition_starves(harness: &mut impl Harness) {
    let log = harness.log();
    // So many that a busy broker has answered for the other partition long before they are done.
    const MANY: usize = 4_000;
    let many: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
    append(&log, &UPSTREAM.spec, 0, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    append(&log, &UPSTREAM.spec, 3, &["lone"]).await;
    let limits = MemberSpec { batch_records_max: 10, batch_bytes_max: 60, ..member_spec(&UPSTREAM.spec, "one") };
    let mut member = join_and_start(&log, limits, ALL).await;
    let (mut of_many, mut until_lone) = (Vec::new(), None);
    let mut batches = 0;
    while of_many.len() < MANY || until_lone.is_none() {
        let Event::Batch(batch) = next(&mut member).await.unwrap() else { panic!("records are there") };
        batches += 1;
        let records = || batch.iter().flat_map(|partition| &partition.records);
        let bytes: usize = records().map(|record| record.key.len() + record.value.len()).sum();
        assert!(records().count() <= 10 && bytes <= 60, "{} records of {bytes} bytes", records().count());
        for partition in &batch {
            match partition.partition {
                0 => of_many.extend(partition.records.iter().map(text)),
                _ => until_lone = Some(batches),
            }
        }
    }
    assert_eq!(of_many, many);
    assert!(until_lone.unwrap() <= batches / 4, "the lone record waited for {until_lone:?} of {batches} batches");
    let large = "x".repeat(500);
    append(&log, &UPSTREAM.spec, 1, &[&large]).await;
    let alone = next_records(&mut member, 1).await;
    assert_eq!(alone[0].records[0].value.len(), 500, "one record may exceed the limit alone");
}

pub async fn nothing_comes_of_a_partition_before_it_is_started(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    append(&log, &UPSTREAM.spec, 2, &["b"]).await;
    let mut member = log.join(member_spec(&UPSTREAM.spec, "one")).await.unwrap();
    let Event::Assigned(assigned) = next(&mut member).await.unwrap() else { panic!("partitions come first") };
    assert_eq!(assigned.len(), ALL);
    assert!(assigned.iter().all(|one| one.committed.is_none()));
    let start = log.bounds(&UPSTREAM.spec, 2).await.unwrap().start;
    member.start(2, start).await.unwrap();
    let batches = next_records(&mut member, 1).await;
    assert_eq!((batches.len(), batches[0].partition), (1, 2));
    member.start(2, start).await.unwrap();
    assert_eq!(next_records(&mut member, 1).await[0].partition, 2, "a partition can be read once more");
}

pub async fn a_partition_starts_only_within_its_bounds(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 0, &["a"]).await;
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), ALL).await;
    let beyond = member.start(0, 1_000).await;
    assert!(matches!(beyond, Err(LogError::OffsetOutOfRange { offset: 1_000, .. })), "{beyond:?}");
    let end = log.bounds(&UPSTREAM.spec, 0).await.unwrap().end;
    member.start(0, end).await.unwrap();
}

pub async fn lag_counts_what_was_not_committed(harness: &mut impl Harness) {
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a", "b", "c"]).await;
    let never = log.lag("workers", &UPSTREAM.spec).await.unwrap();
    assert_eq!(
        never.iter().map(|lag| (lag.committed, lag.records)).collect::<Vec<_>>(),
        [(None, 0), (None, 3), (None, 0), (None, 0)]
    );
    let spec = MemberSpec { batch_records_max: 2, ..member_spec(&UPSTREAM.spec, "one") };
    let mut member = join_and_start(&log, spec, ALL).await;
    let two = next_records(&mut member, 2).await;
    member.commit(Commit { outputs: Vec::new(), positions: positions(&two) }).await.unwrap();
    let lag = log.lag("workers", &UPSTREAM.spec).await.unwrap()[1];
    assert_eq!((lag.partition, lag.committed, lag.records), (1, Some(two[0].next_offset), 1));
    assert_eq!(member.committed(1).await.unwrap(), Some(two[0].next_offset));
    let other = log.lag("others", &UPSTREAM.spec).await.unwrap()[1];
    assert_eq!((other.committed, other.records), (None, 3));
    assert!(tokio::time::timeout(WAIT_MAX, member.leave()).await.expect("leaving takes too long").is_ok());
}
