//! What is bounded, and what happens at the bound.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use topics::catalogue::{ACCEPTED, DELIVERIES, UPSTREAM};
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Class, Commit, Log, LogError};

use super::config;
use crate::contract::drive::{append, join_and_start, member_spec, next_records, placed, positions, values};

#[tokio::test]
async fn a_full_disk_refuses_whole_commits_and_goes_on_by_itself() {
    let dir = TempDir::new().unwrap();
    let clock = Clock::manual(1_800_000_000_000);
    let small = EmbeddedConfig { file_bytes_max: Some(2 << 20), ..config(dir.path()) };
    let log = EmbeddedLog::open(small, clock.clone()).unwrap();
    let as_log: Arc<dyn Log> = log.clone();
    let mut member = join_and_start(&as_log, member_spec(&UPSTREAM.spec, "one"), 4).await;
    append(&as_log, &UPSTREAM.spec, 0, &["to work on"]).await;
    let batches = next_records(&mut member, 1).await;
    let filling = "x".repeat(100_000);
    let mut written = 0;
    let full = loop {
        match log.append(vec![placed(&ACCEPTED.spec, 0, &filling)]).await {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert!(matches!(full, LogError::DiskFull { .. }) && full.class() == Class::Retry, "{full}");
    let outputs = || vec![placed(&ACCEPTED.spec, 0, &filling), placed(&DELIVERIES.spec, 0, "delivery")];
    let commit = member.commit(Commit { outputs: outputs(), positions: positions(&batches) }).await;
    assert!(matches!(commit, Err(LogError::DiskFull { .. })), "{commit:?}");
    assert_eq!(values(&as_log, &ACCEPTED.spec, 0).await.len(), written);
    assert!(values(&as_log, &DELIVERIES.spec, 0).await.is_empty(), "a part of the failed commit is visible");
    assert_eq!(member.committed(0).await.unwrap(), None);

    clock.advance_ms(2 * 24 * 3_600 * 1_000);
    log.maintain().await.unwrap();
    member.commit(Commit { outputs: outputs(), positions: positions(&batches) }).await.unwrap();
    assert_eq!(values(&as_log, &ACCEPTED.spec, 0).await, [filling.as_str()]);
    assert_eq!(values(&as_log, &DELIVERIES.spec, 0).await, ["delivery"]);
}

#[tokio::test]
async fn what_a_failed_commit_wrote_never_shows() {
    let dir = TempDir::new().unwrap();
    let small = || EmbeddedConfig { file_bytes_max: Some(2 << 20), ..config(dir.path()) };
    let log: Arc<dyn Log> = EmbeddedLog::open(small(), Clock::system()).unwrap();
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), 4).await;
    // Too large for the file, not for a commit.
    let too_much = (0..4).map(|_| placed(&ACCEPTED.spec, 0, &"x".repeat(1_000_000)));
    // More than one batch of deliveries, so that what comes later does not take all their places.
    let never = "never".repeat(100_000);
    let outputs = (0..3).map(|_| placed(&DELIVERIES.spec, 0, &never)).chain(too_much).collect();
    let commit = member.commit(Commit { outputs, positions: Vec::new() }).await;
    assert!(matches!(commit, Err(LogError::DiskFull { .. })), "{commit:?}");
    drop((member, log));
    let log: Arc<dyn Log> = EmbeddedLog::open(small(), Clock::system()).unwrap();
    assert!(values(&log, &DELIVERIES.spec, 0).await.is_empty());
    assert_eq!(append(&log, &DELIVERIES.spec, 0, &["first"]).await, 0);
    // Commits that succeed must not bring the failed one back.
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), 4).await;
    for _ in 0..5 {
        let outputs = vec![placed(&DELIVERIES.spec, 1, "later"), placed(&ACCEPTED.spec, 0, "later")];
        member.commit(Commit { outputs, positions: Vec::new() }).await.unwrap();
    }
    drop((member, log));
    let log: Arc<dyn Log> = EmbeddedLog::open(small(), Clock::system()).unwrap();
    assert_eq!(values(&log, &DELIVERIES.spec, 0).await, ["first"]);
    assert_eq!(values(&log, &DELIVERIES.spec, 1).await.len(), 5);
}

#[tokio::test]
async fn records_and_calls_over_their_limit_are_refused() {
    let dir = TempDir::new().unwrap();
    let config = EmbeddedConfig { record_bytes_max: 100, call_bytes_max: 250, ..config(dir.path()) };
    let log: Arc<dyn Log> = EmbeddedLog::open(config, Clock::system()).unwrap();
    let sized = |bytes: usize| placed(&UPSTREAM.spec, 0, &"x".repeat(bytes - "key".len()));
    let large = log.append(vec![sized(101)]).await;
    assert!(matches!(large, Err(LogError::TooLarge { bytes: 101, max: 100, .. })), "{large:?}");
    let many = log.append(vec![sized(90), sized(90), sized(90)]).await;
    assert!(matches!(many, Err(LogError::TooLarge { bytes: 270, max: 250, .. })), "{many:?}");
    assert_eq!(log.append(vec![sized(100), sized(100), sized(50)]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn callers_wait_for_room_in_a_full_queue_and_all_are_served() {
    let dir = TempDir::new().unwrap();
    let config = EmbeddedConfig { write_queue_bytes_max: 4_096, ..config(dir.path()) };
    let log = EmbeddedLog::open(config, Clock::system()).unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..100 {
        let log = Arc::clone(&log);
        // Some are larger than the whole queue.
        let value = "x".repeat(if caller % 10 == 0 { 10_000 } else { 500 });
        callers.spawn(async move { log.append(vec![placed(&UPSTREAM.spec, 0, &value)]).await.unwrap() });
    }
    let served = tokio::time::timeout(Duration::from_secs(30), callers.join_all()).await.expect("a caller waits on");
    assert_eq!(served.len(), 100);
}

#[tokio::test]
async fn the_write_ahead_log_does_not_grow_without_end() {
    let dir = TempDir::new().unwrap();
    let config = EmbeddedConfig { wal_bytes_target: 256 << 10, ..config(dir.path()) };
    let log = EmbeddedLog::open(config, Clock::system()).unwrap();
    let value = "x".repeat(10_000);
    let mut appends = futures::stream::FuturesUnordered::new();
    for n in 0..2_000 {
        let topic = if n % 2 == 0 { &UPSTREAM.spec } else { &DELIVERIES.spec };
        appends.push(log.append(vec![placed(topic, n % 2, &value)]));
        if appends.len() == 8 {
            futures::StreamExt::next(&mut appends).await.unwrap().unwrap();
        }
    }
    while let Some(appended) = futures::StreamExt::next(&mut appends).await {
        appended.unwrap();
    }
    let bytes = std::fs::metadata(dir.path().join("synced.db-wal")).unwrap().len();
    assert!(bytes < 8 << 20, "it has {bytes} bytes after 20 MB were written");
}
