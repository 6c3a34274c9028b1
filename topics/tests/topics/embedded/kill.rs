//! `kill -9` at any moment: what was acknowledged is there, once, in order, and commits are whole.
//!
//! The test starts its own binary again as the process to be killed; an environment variable tells
//! that process which role it has. The child says on its standard output what was acknowledged to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use topics::catalogue::{ACCEPTED, DELIVERIES, HEADS, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Commit, Event, Log};

use super::{config, open};
use crate::contract::CHAIN_PARTITIONS;
use crate::contract::drive::{join_and_start, member_spec, placed, positions, text, values};

const DIR_OF_CHILD: &str = "GOCHAT_TEST_KILLED_LOG";
const KILLS: u32 = 6;

#[test]
fn whatever_was_acknowledged_survives_a_kill_and_commits_are_whole() {
    if let Some(dir) = std::env::var_os(DIR_OF_CHILD) {
        return child(Path::new(&dir));
    }
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = TempDir::new().unwrap();
    for kill in 0..KILLS {
        let acknowledged = run_and_kill(dir.path(), random.random_range(1..600));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(dir.path(), &acknowledged, &format!("seed {seed}, kill {kill}")));
    }
}

/// What the child was told: for each name of something that grows, how far it is at least.
type Acknowledged = BTreeMap<String, u64>;

fn run_and_kill(dir: &Path, after_lines: usize) -> Acknowledged {
    let test = "embedded::kill::whatever_was_acknowledged_survives_a_kill_and_commits_are_whole";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(DIR_OF_CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = Acknowledged::new();
    for (number, line) in lines.filter(|line| line.starts_with("ack ")).enumerate() {
        if number == after_lines {
            kill(&mut child);
        }
        // A line that the kill has cut off lacks its last word.
        let words: Vec<&str> = line.split(' ').collect();
        let [_, name, count, "."] = words[..] else { continue };
        acknowledged.insert(name.to_owned(), count.parse().unwrap());
    }
    kill(&mut child);
    assert!(!acknowledged.is_empty(), "the child did nothing: {:?}", child.wait());
    acknowledged
}

/// SIGKILL; the process gets no chance to write anything.
fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn check(dir: &Path, acknowledged: &Acknowledged, context: &str) {
    let log: Arc<dyn Log> = open(dir);
    let at_least = |name: &str| acknowledged.get(name).copied().unwrap_or(0);
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let deliveries = values(&log, &DELIVERIES.spec, 0).await;
    let lag = log.lag("workers", &UPSTREAM.spec).await.unwrap();
    for partition in 0..CHAIN_PARTITIONS {
        let appended = values(&log, &UPSTREAM.spec, partition).await;
        assert_eq!(appended, numbers(appended.len()), "{context}: appended to {partition}");
        assert!(appended.len() as u64 >= at_least(&format!("{}/{partition}", UPSTREAM.spec.name)), "{context}");
        let committed = lag[partition as usize].committed.unwrap_or(0);
        assert!(committed >= at_least(&format!("commit/{partition}")), "{context}: a position was lost");
        let outputs = values(&log, &ACCEPTED.spec, partition).await;
        assert_eq!(outputs, numbers(committed as usize), "{context}: outputs of {partition}");
        let prefix = format!("{partition}/");
        let delivered = deliveries.iter().filter_map(|value| value.strip_prefix(&prefix)).collect::<Vec<_>>();
        assert_eq!(delivered, numbers(committed as usize), "{context}: deliveries of {partition}");
        let heads = values(&log, &HEADS.spec, partition).await;
        assert_eq!(heads.last().map_or(0, |last| last.parse().unwrap()), committed, "{context}: changelog");
    }
    let appended = values(&log, &DELIVERIES.spec, 1).await;
    assert_eq!(appended, numbers(appended.len()), "{context}: appended deliveries");
    assert!(appended.len() as u64 >= at_least(&format!("{}/1", DELIVERIES.spec.name)), "{context}");
}

/// Appends and commits until it is killed.
fn child(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // Checkpoints all the time.
        let config = EmbeddedConfig { wal_bytes_target: 100 << 10, ..config(dir) };
        let log: Arc<dyn Log> = EmbeddedLog::open(config, Clock::system()).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for partition in 0..CHAIN_PARTITIONS {
            tasks.spawn(keep_appending(Arc::clone(&log), &UPSTREAM.spec, partition));
        }
        tasks.spawn(keep_appending(Arc::clone(&log), &DELIVERIES.spec, 1));
        tasks.spawn(keep_committing(log));
        tasks.join_all().await;
    });
}

fn acknowledge(name: &str, count: u64) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("ack {name} {count} .\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn keep_appending(log: Arc<dyn Log>, topic: &'static TopicSpec, partition: u32) {
    let mut next = log.bounds(topic, partition).await.unwrap().end;
    loop {
        let count = 1 + next % 7;
        let records = (next..next + count).map(|n| placed(topic, partition, &n.to_string())).collect();
        log.append(records).await.unwrap();
        next += count;
        acknowledge(&format!("{}/{partition}", topic.name), next);
    }
}

async fn keep_committing(log: Arc<dyn Log>) {
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), CHAIN_PARTITIONS as usize).await;
    loop {
        let Event::Batch(batches) = member.next().await.unwrap() else { panic!("it is alone in its group") };
        let mut outputs = Vec::new();
        for batch in &batches {
            for record in &batch.records {
                outputs.push(placed(&ACCEPTED.spec, batch.partition, &text(record)));
                outputs.push(placed(&DELIVERIES.spec, 0, &format!("{}/{}", batch.partition, text(record))));
            }
            outputs.push(placed(&HEADS.spec, batch.partition, &batch.next_offset.to_string()));
        }
        member.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
        for batch in &batches {
            acknowledge(&format!("commit/{}", batch.partition), batch.next_offset);
        }
    }
}
