//! Whose directory it is, and in what state.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use topics::catalogue::{ACCEPTED, DELIVERIES, Layout, UPSTREAM};
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Commit, Log, LogError, StartAt};

use super::{LAYOUT, config, open};
use crate::contract::CHAIN_PARTITIONS;
use crate::contract::drive::{WAIT_MAX, append, join_and_start, member_spec, placed, values};

pub fn refused(dir: &Path) -> LogError {
    EmbeddedLog::open(config(dir), Clock::system()).expect_err("the directory was taken")
}

/// Changes a database as no log would.
pub fn tamper(dir: &Path, sql: &str) {
    rusqlite::Connection::open(dir.join("synced.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_has_closed() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path());
    let error = refused(dir.path());
    assert!(matches!(error, LogError::InUse { .. }), "{error}");
    first.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_log_that_is_dropped_has_written_what_was_queued_and_lets_go() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    log.append(vec![placed(&UPSTREAM.spec, 0, "a")]).await.unwrap();
    drop(log);
    let log: std::sync::Arc<dyn Log> = open(dir.path());
    assert_eq!(values(&log, &UPSTREAM.spec, 0).await, ["a"]);
}

#[tokio::test]
async fn a_log_keeps_the_dedupe_window_that_it_was_made_for() {
    let dir = TempDir::new().unwrap();
    let with = |seconds| EmbeddedConfig { dedupe_window: Duration::from_secs(seconds), ..config(dir.path()) };
    EmbeddedLog::open(with(2), Clock::system()).unwrap().close().await;
    let error = EmbeddedLog::open(with(600), Clock::system()).expect_err("it was made for another window");
    let LogError::WindowDiffers { recorded, configured } = &error else { panic!("{error}") };
    assert_eq!((recorded.as_secs(), configured.as_secs()), (2, 600));
    assert!(error.to_string().contains("stages.dedupe_window_seconds"), "{error}");
    let reading = EmbeddedLog::open_read_only(dir.path()).unwrap();
    assert_eq!(reading.dedupe_window(), Some(Duration::from_secs(2)), "tools judge by what was recorded");
    reading.close().await;

    // As a version that did not record it left it.
    tamper(dir.path(), "DELETE FROM settings WHERE name = 'dedupe_window_ms'");
    assert_eq!(EmbeddedLog::open_read_only(dir.path()).unwrap().dedupe_window(), None);
    EmbeddedLog::open(with(600), Clock::system()).unwrap().close().await;
    assert!(EmbeddedLog::open(with(2), Clock::system()).is_err(), "from then on it is fixed");
}

/// Names that SQLite would take for something else than a file of that name, relative to where the process is.
#[tokio::test]
async fn a_directory_of_whatever_name_is_the_one_that_is_used() {
    for (begin, end) in [("file:", "?mode=memory"), ("file:", "#b%41"), ("-v", " "), (":memory:", "")] {
        let dir = tempfile::Builder::new().prefix(begin).suffix(end).tempdir_in(".").unwrap();
        let relative = Path::new(dir.path().file_name().unwrap());
        open(relative).close().await;
        assert!(dir.path().join("synced.db").is_file(), "{relative:?}");
        EmbeddedLog::open_read_only(relative).unwrap().close().await;
    }
}

#[tokio::test]
async fn calls_after_closing_fail_and_waits_end() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let mut member = log.join(member_spec(&UPSTREAM.spec, "one")).await.unwrap();
    member.next().await.unwrap();
    let waiting = tokio::spawn(async move { member.next().await.map(|_| ()) });
    let kept = std::sync::Arc::clone(&log);
    log.close().await;
    let ended = tokio::time::timeout(WAIT_MAX, waiting).await.expect("it waits on").unwrap();
    assert!(matches!(ended, Err(LogError::Closed)), "{ended:?}");
    let append = kept.append(vec![placed(&UPSTREAM.spec, 0, "late")]).await;
    assert!(matches!(append, Err(LogError::Closed)), "{append:?}");
}

#[test]
fn a_directory_with_other_things_in_it_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, LogError::Unusable { .. }) && error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let dir = TempDir::new().unwrap();
    tamper(dir.path(), "CREATE TABLE songs (title TEXT)");
    let error = refused(dir.path());
    assert!(error.to_string().contains("another program"), "{error}");
    fs::write(dir.path().join("synced.db"), "no database at all, but long enough to be read as one").unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, LogError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_log_of_a_newer_version_is_refused() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).close().await;
    tamper(dir.path(), "PRAGMA user_version=3");
    let error = refused(dir.path());
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[tokio::test]
async fn a_log_that_lost_what_was_committed_is_refused() {
    let (dir, damaged) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log: std::sync::Arc<dyn Log> = open(dir.path());
    let mut member =
        join_and_start(&log, member_spec(&UPSTREAM.spec, "one"), usize::try_from(CHAIN_PARTITIONS).unwrap()).await;
    for value in ["a", "b"] {
        let outputs = vec![placed(&ACCEPTED.spec, 1, value), placed(&DELIVERIES.spec, 0, value)];
        member.commit(Commit { outputs, positions: Vec::new() }).await.unwrap();
        if value == "a" {
            fs::copy(dir.path().join("synced.db-wal"), damaged.path().join("synced.db-wal")).unwrap();
        }
    }
    for name in ["synced.db", "records-written"] {
        fs::copy(dir.path().join(name), damaged.path().join(name)).unwrap();
    }
    let error = refused(damaged.path());
    assert!(matches!(error, LogError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("it has 2 of 4 records"), "{error}");
    assert!(error.to_string().contains("synced.db-wal, was damaged or removed"), "{error}");

    fs::copy(dir.path().join("synced.db-wal"), damaged.path().join("synced.db-wal")).unwrap();
    let _ = fs::remove_file(damaged.path().join("synced.db-shm"));
    open(damaged.path()).close().await;
    fs::write(damaged.path().join("synced.db"), "").unwrap();
    let error = refused(damaged.path());
    assert!(error.to_string().contains("holds no log (there is "), "{error}");
    fs::remove_file(damaged.path().join("synced.db")).unwrap();
    let error = refused(damaged.path());
    assert!(error.to_string().contains("holds no log (there is "), "{error}");
}

#[tokio::test]
async fn a_topic_that_is_given_up_is_no_loss() {
    let dir = TempDir::new().unwrap();
    let log: std::sync::Arc<dyn Log> = open(dir.path());
    append(&log, &ACCEPTED.spec, 0, &["a", "b"]).await;
    drop(log);
    tamper(dir.path(), "UPDATE partitions SET topic = 'given-up' WHERE topic = 'accepted-messages'");
    open(dir.path()).close().await;
}

#[test]
fn a_start_that_was_interrupted_at_the_first_file_is_no_hindrance() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("lock"), "").unwrap();
    fs::write(dir.path().join("synced.db"), "").unwrap();
    drop(open(dir.path()));
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    // No user may make a directory there, the superuser neither.
    for unwritable in [dir.path().join("file/below"), "/proc/self/below".into()] {
        let error = refused(&unwritable);
        assert!(matches!(error, LogError::Unusable { .. }) && error.to_string().contains("check that"), "{error}");
    }
}

#[tokio::test]
async fn another_layout_is_refused() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).close().await;
    for (chain_partitions, gateway_slots) in [(8, 2), (CHAIN_PARTITIONS, 1), (0, 2)] {
        let layout = Layout { chain_partitions, gateway_slots };
        let other = EmbeddedConfig { layout, ..config(dir.path()) };
        let error = EmbeddedLog::open(other, Clock::system()).expect_err("another layout was taken");
        assert!(matches!(error, LogError::TopicDiffers { .. }), "{error}");
    }
    open(dir.path()).close().await;
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let dir = TempDir::new().unwrap();
    let log: std::sync::Arc<dyn Log> = open(dir.path());
    append(&log, &UPSTREAM.spec, 0, &["whole"]).await;
    append(&log, &UPSTREAM.spec, 0, &["damaged"]).await;
    drop(log);
    tamper(dir.path(), "UPDATE batches SET body = zeroblob(length(body)) WHERE id IN (SELECT max(id) FROM batches)");
    let log: std::sync::Arc<dyn Log> = open(dir.path());
    let mut reader = log.read(&UPSTREAM.spec, &[(0, topics::log::StartAt::Offset(1))]).await.unwrap();
    let error = reader.next_within(WAIT_MAX).await.expect_err("damaged bytes were read");
    assert!(matches!(error, LogError::Corrupt { partition: 0, offset: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_tool_reads_beside_the_process_that_writes() {
    let dir = TempDir::new().unwrap();
    let absent = EmbeddedLog::open_read_only(dir.path()).expect_err("there is no log yet");
    assert!(matches!(absent, LogError::Unusable { .. }), "{absent}");
    let writer: std::sync::Arc<dyn Log> = open(dir.path());
    append(&writer, &UPSTREAM.spec, 0, &["a", "b"]).await;
    let tool: std::sync::Arc<dyn Log> = EmbeddedLog::open_read_only(dir.path()).unwrap();
    assert_eq!(tool.layout(), LAYOUT);
    assert_eq!(values(&tool, &UPSTREAM.spec, 0).await, ["a", "b"]);
    let mut reader = tool.read(&UPSTREAM.spec, &[(0, topics::log::StartAt::Latest)]).await.unwrap();
    append(&writer, &UPSTREAM.spec, 0, &["c"]).await;
    let batch = reader.next_within(WAIT_MAX).await.unwrap().expect("the tool never sees it");
    assert_eq!(crate::contract::drive::text(&batch.records[0]), "c");
    assert_eq!(tool.lag("nobody", &UPSTREAM.spec).await.unwrap()[0].records, 3);
    let append = tool.append(vec![placed(&UPSTREAM.spec, 0, "x")]).await;
    assert!(matches!(append, Err(LogError::Unusable { .. })), "{append:?}");
    let join = tool.join(member_spec(&UPSTREAM.spec, "tool")).await.map(|_| ());
    assert!(matches!(join, Err(LogError::Unusable { .. })), "{join:?}");
}

#[tokio::test]
async fn batches_that_are_gone_from_the_middle_are_noticed() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    for value in ["a", "b", "c"] {
        log.append(vec![placed(&UPSTREAM.spec, 0, value)]).await.unwrap();
    }
    log.close().await;
    tamper(dir.path(), "DELETE FROM batches WHERE id = (SELECT min(id) + 1 FROM batches)");
    let log = open(dir.path());
    let mut reader = log.read(&UPSTREAM.spec, &[(0, StartAt::Earliest)]).await.unwrap();
    let error = reader.next_within(WAIT_MAX).await.expect_err("a gap was read over");
    assert!(matches!(error, LogError::Corrupt { offset: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    log.append(vec![placed(&UPSTREAM.spec, 0, &"x".repeat(100_000))]).await.unwrap();
    log.close().await;
    tamper(dir.path(), "PRAGMA wal_checkpoint(TRUNCATE)");
    let file = fs::File::options().write(true).open(dir.path().join("synced.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let error = refused(dir.path()).to_string();
    assert!(error.contains("synced.db") && error.contains("damaged"), "{error}");
}
