//! A second member joins while the first has records in hand: the group moves on around a transaction
//! that is not committed yet.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::timeout;
use topics::catalogue::{ACCEPTED, UPSTREAM};
use topics::log::{Class, Commit, Log, Member, MemberSpec};

use super::transactions::{copies, copy_on, rewind};
use super::{OnKafka, brokers, kafka};
use crate::contract::drive::{
    WAIT_MAX, append, join_and_start, member_spec, next_records, positions, read_all, values,
};
use crate::contract::{CHAIN_PARTITIONS, Harness};

const ALL: usize = CHAIN_PARTITIONS as usize;
const RECORDS_OF_A_PARTITION: usize = 200;

/// The state of the group as its coordinator tells it, and how many members it has.
fn group(harness: &OnKafka, client: &BaseConsumer) -> (String, usize) {
    let name = format!("{}workers", harness.config.group_prefix);
    let groups = client.client().fetch_group_list(Some(&name), WAIT_MAX).unwrap();
    groups.groups().first().map_or((String::new(), 0), |group| (group.state().to_owned(), group.members().len()))
}

/// Waits until the group is in one of these states, with two members.
async fn two_are(harness: &OnKafka, states: &[&str]) {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let reached = async {
        loop {
            let (state, members) = group(harness, &client);
            if members == 2 && states.contains(&state.as_str()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT_MAX, reached).await.unwrap_or_else(|_| panic!("the group is never {states:?}"));
}

/// Two members, and a commit of the first while the group is in one of these states; then both work
/// until everything is copied. Each record is copied once, in its order.
async fn a_commit_while_the_group_is(states: &[&str]) {
    let harness = kafka().await;
    let log = harness.log();
    let texts: Vec<String> = (0..RECORDS_OF_A_PARTITION).map(|n| n.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for partition in 0..CHAIN_PARTITIONS {
        append(&log, &UPSTREAM.spec, partition, &texts).await;
    }
    let spec = |name: &str| MemberSpec { batch_records_max: 50, ..member_spec(&UPSTREAM.spec, name) };
    let mut first = join_and_start(&log, spec("first"), ALL).await;
    let in_hand = next_records(&mut first, 50).await;

    let (second_log, second_spec) = (Arc::clone(&log), spec("second"));
    let second = tokio::spawn(async move { join_and_start(&second_log, second_spec, ALL / 2).await });
    two_are(&harness, states).await;
    match first.commit(Commit { outputs: copies(&in_hand), positions: positions(&in_hand) }).await {
        Ok(()) => eprintln!("committed while {states:?}"),
        Err(error) => {
            eprintln!("aborted while {states:?}: {error}");
            assert!(matches!(error.class(), Class::Abort | Class::Retry), "{error}");
            rewind(&log, first.as_mut(), &(0..CHAIN_PARTITIONS).collect()).await.unwrap();
        }
    }
    let first = tokio::spawn(work(Arc::clone(&log), first, (0..CHAIN_PARTITIONS).collect::<Vec<_>>()));
    // It gets its half although the first was busy when it came.
    let second = timeout(WAIT_MAX, second).await.expect("the second gets nothing").unwrap();
    let second = tokio::spawn(work(Arc::clone(&log), second, Vec::new()));

    let done = async {
        for partition in 0..CHAIN_PARTITIONS {
            while read_all(&log, &ACCEPTED.spec, partition).await.len() < RECORDS_OF_A_PARTITION {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(Duration::from_secs(30), done).await.expect("records are missing");
    first.abort();
    second.abort();
    for partition in 0..CHAIN_PARTITIONS {
        assert_eq!(values(&log, &ACCEPTED.spec, partition).await, texts, "partition {partition}");
    }
}

async fn work(log: Arc<dyn Log>, member: Box<dyn Member>, owned: Vec<u32>) {
    if let Err(error) = copy_on(&log, member, owned.into_iter().collect()).await {
        panic!("a member ended: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_while_a_second_member_joins_is_whole_or_is_worked_again() {
    a_commit_while_the_group_is(&["PreparingRebalance", "CompletingRebalance"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_the_generation_after_its_batch_is_whole_or_is_worked_again() {
    a_commit_while_the_group_is(&["Stable"]).await;
}
