//! `kill -9` of a partition's owner at any moment: each of its commits is whole, or was never made.
//!
//! The test starts its own binary again as the owner to be killed; an environment variable tells that
//! process which topics are its own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;
use topics::catalogue::{ACCEPTED, UPSTREAM};
use topics::kafka::KafkaLog;
use topics::log::{Log, MemberSpec};

use super::transactions::copy;
use super::{config_of, kafka};
use crate::contract::drive::{WAIT_MAX, append, member_spec, values};
use crate::contract::{CHAIN_PARTITIONS, Harness};

const PREFIX_OF_CHILD: &str = "GOCHAT_TEST_KILLED_MEMBER";
const KILLS: usize = 8;
const RECORDS_OF_A_PARTITION: usize = 3_000;

#[test]
fn a_killed_owner_leaves_nothing_half_done() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match std::env::var_os(PREFIX_OF_CHILD) {
        Some(prefix) => runtime.block_on(child(prefix.to_str().unwrap())),
        None => runtime.block_on(kill_owners()),
    }
}

/// Copies until it is killed.
async fn child(prefix: &str) {
    let log: Arc<dyn Log> = KafkaLog::connect(config_of(prefix)).await.unwrap();
    copy(log, MemberSpec { batch_records_max: 20, ..member_spec(&UPSTREAM.spec, "owner") }).await;
}

fn start(prefix: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kafka::kill::a_killed_owner_leaves_nothing_half_done", "--exact"])
        .env(PREFIX_OF_CHILD, prefix)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn kill_owners() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let harness = kafka().await;
    let log = harness.log();
    let appended: Vec<String> = (0..RECORDS_OF_A_PARTITION).map(|n| n.to_string()).collect();
    let as_text: Vec<&str> = appended.iter().map(String::as_str).collect();
    for partition in 0..CHAIN_PARTITIONS {
        append(&log, &UPSTREAM.spec, partition, &as_text).await;
    }
    for _ in 0..KILLS {
        let before = written(&log).await;
        let mut owner = start(&harness.config.topic_prefix);
        let works = async { while written(&log).await == before {} };
        timeout(WAIT_MAX, works).await.expect("the owner does not begin to work");
        // The moment of the fault.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..60_000))).await;
        owner.kill().unwrap();
        owner.wait().unwrap();
    }
    let mut owner = start(&harness.config.topic_prefix);
    let done = async { while log.lag("workers", &UPSTREAM.spec).await.unwrap().iter().any(|lag| lag.records > 0) {} };
    timeout(Duration::from_secs(60), done).await.expect("the last owner never finishes");
    owner.kill().unwrap();
    owner.wait().unwrap();
    for partition in 0..CHAIN_PARTITIONS {
        assert_eq!(values(&log, &ACCEPTED.spec, partition).await, appended, "seed {seed}, partition {partition}");
    }
}

/// How much was written to the topic of copies, committed or not.
async fn written(log: &Arc<dyn Log>) -> u64 {
    let mut written = 0;
    for partition in 0..CHAIN_PARTITIONS {
        written += log.bounds(&ACCEPTED.spec, partition).await.unwrap().end;
    }
    written
}
