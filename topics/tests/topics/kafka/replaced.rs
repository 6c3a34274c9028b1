//! Two processes under one name, and what only looks like it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use topics::catalogue::{ACCEPTED, UPSTREAM};
use topics::kafka::{KafkaConfig, KafkaLog};
use topics::log::{Class, Commit, Event, Log, LogError, Member, MemberSpec};

use super::{brokers, config};
use crate::contract::CHAIN_PARTITIONS;
use crate::contract::drive::{
    WAIT_MAX, append, join_and_start, member_spec, next, next_records, placed, positions, values,
};

const ALL: usize = CHAIN_PARTITIONS as usize;

async fn process(config: &KafkaConfig) -> Arc<dyn Log> {
    KafkaLog::connect(config.clone()).await.unwrap()
}

fn is_replaced(error: &LogError) -> bool {
    matches!(error, LogError::Replaced { by, .. } if by.contains("127.0.0.1"))
}

/// What ends a member whose owner only waits.
async fn ended(member: &mut Box<dyn Member>) -> LogError {
    loop {
        match next(member).await {
            Ok(Event::Lost(_) | Event::Revoked(_) | Event::Assigned(_) | Event::Batch(_)) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn of_two_processes_of_one_name_the_older_one_ends_for_good() {
    let config = config();
    for transactional in [true, false] {
        let group = if transactional { "exactly" } else { "plain" };
        let spec = MemberSpec { group: group.into(), transactional, ..member_spec(&UPSTREAM.spec, "name") };
        let (older, newer) = (process(&config).await, process(&config).await);
        let mut of_older = join_and_start(&older, spec.clone(), ALL).await;
        let mut of_newer = join_and_start(&newer, spec, ALL).await;
        let error = ended(&mut of_older).await;
        assert!(is_replaced(&error), "{group}: {error}");
        append(&newer, &UPSTREAM.spec, 1, &[group]).await;
        let batches = next_records(&mut of_newer, 1).await;
        let outputs = vec![placed(&ACCEPTED.spec, 1, group)];
        of_newer.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_replaced_while_it_commits_waits_until_the_other_is_seen() {
    let config = config();
    let (older, newer) = (process(&config).await, process(&config).await);
    append(&older, &UPSTREAM.spec, 1, &["a"]).await;
    let mut of_older = join_and_start(&older, member_spec(&UPSTREAM.spec, "name"), ALL).await;
    let batches = next_records(&mut of_older, 1).await;
    // It has fenced the transactions of the older one, and is not seen in the group at once.
    let joining = tokio::spawn(async move { newer.join(member_spec(&UPSTREAM.spec, "name")).await.unwrap() });
    let commit = || Commit { outputs: vec![placed(&ACCEPTED.spec, 1, "a")], positions: Vec::new() };
    let error = loop {
        match of_older.commit(commit()).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(is_replaced(&error), "{error}");
    let mut of_newer = joining.await.unwrap();
    assert!(matches!(next(&mut of_newer).await, Ok(Event::Assigned(_))));
    assert!(!batches.is_empty());
}

/// As brokers fence who took too long, without that anybody else is there.
#[tokio::test]
async fn a_member_whose_transactions_were_fenced_comes_back_when_nobody_has_its_name() {
    let config = config();
    let log = process(&config).await;
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    let spec = member_spec(&UPSTREAM.spec, "name");
    let mut member = join_and_start(&log, spec.clone(), ALL).await;
    let batches = next_records(&mut member, 1).await;
    let fencing: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", format!("{}workers-name", config.group_prefix))
        .create()
        .unwrap();
    fencing.init_transactions(WAIT_MAX).unwrap();
    let commit = || Commit { outputs: vec![placed(&ACCEPTED.spec, 1, "a")], positions: positions(&batches) };
    let error = member.commit(commit()).await.unwrap_err();
    assert!(matches!(error, LogError::Fenced { .. }) && error.class() == Class::Rebuild, "{error}");
    member.leave().await.unwrap();
    let mut again = join_and_start(&log, spec, ALL).await;
    again.commit(commit()).await.unwrap();
    assert_eq!(values(&log, &ACCEPTED.spec, 1).await, ["a"]);
}

/// The name was the older process's until it died; the newer one is not disturbed by what is left of it.
#[tokio::test]
async fn a_process_that_starts_again_under_its_name_goes_on() {
    let config = config();
    let spec = member_spec(&UPSTREAM.spec, "name");
    let dead = process(&config).await;
    append(&dead, &UPSTREAM.spec, 1, &["a"]).await;
    let of_dead = join_and_start(&dead, spec.clone(), ALL).await;
    drop(of_dead);
    let restarted = process(&config).await;
    let mut member = join_and_start(&restarted, spec, ALL).await;
    let batches = next_records(&mut member, 1).await;
    let outputs = vec![placed(&ACCEPTED.spec, 1, "a")];
    member.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
    // Some of its heartbeats later it is a member still.
    let quiet = tokio::time::timeout(Duration::from_secs(2), member.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}
