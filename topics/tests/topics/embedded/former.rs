//! A log of version 1, which had deliveries and presence in a second file: what opening it keeps.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use topics::catalogue::{DELIVERIES, PRESENCE, TopicSpec, UPSTREAM};
use topics::embedded::EmbeddedLog;
use topics::log::{Log, LogError};

use super::directory::{refused, tamper};
use super::open;
use crate::contract::drive::{append, read_all, text, values};

/// A log of version 1 with a few records of each kind; what it noted last is transaction 4.
async fn version_1() -> TempDir {
    let dir = TempDir::new().unwrap();
    let log: Arc<dyn Log> = open(dir.path());
    for partition in [0, 1] {
        append(&log, &UPSTREAM.spec, partition, &["u", "v", "w"]).await;
    }
    for value in ["first", "second", "third"] {
        append(&log, &DELIVERIES.spec, 0, &[value]).await;
    }
    append(&log, &DELIVERIES.spec, 1, &["a", "b"]).await;
    append(&log, &PRESENCE.spec, 0, &["here"]).await;
    drop(log);
    fs::remove_file(dir.path().join("records-written")).unwrap();
    let split = format!(
        "ATTACH '{}' AS former;
         PRAGMA former.journal_mode=WAL;
         CREATE TABLE former.partitions AS
             SELECT * FROM main.partitions WHERE topic IN ('downstream-deliveries', 'presence');
         CREATE TABLE former.batches AS
             SELECT * FROM main.batches WHERE id >> 44 IN (SELECT id FROM former.partitions);
         CREATE TABLE former.positions (consumers, partition, position, txn);
         DELETE FROM main.batches WHERE id IN (SELECT id FROM former.batches);
         DELETE FROM main.partitions WHERE id IN (SELECT id FROM former.partitions);
         ALTER TABLE main.positions ADD COLUMN txn INTEGER NOT NULL DEFAULT 0;
         INSERT INTO main.settings VALUES ('last_txn', 4);
         PRAGMA main.user_version=1;",
        dir.path().join("unsynced.db").display(),
    );
    tamper(dir.path(), &split);
    dir
}

/// Changes the second file.
fn tamper_former(dir: &Path, sql: &str) {
    rusqlite::Connection::open(dir.join("unsynced.db")).unwrap().execute_batch(sql).unwrap();
}

/// Sets the transaction of a row of deliveries in slot 0.
fn set_txn(dir: &Path, offset: u64, txn: u64) {
    let partition = "SELECT id FROM partitions WHERE topic = 'downstream-deliveries' AND partition = 0";
    tamper_former(dir, &format!("UPDATE batches SET txn = {txn} WHERE id = (({partition}) << 44) + {offset}"));
}

fn number_of(dir: &Path, file: &str, topic: &TopicSpec, partition: u32) -> u32 {
    let db = rusqlite::Connection::open(dir.join(file)).unwrap();
    let of = "SELECT id FROM partitions WHERE topic = ?1 AND partition = ?2";
    db.query_row(of, rusqlite::params![topic.name, partition], |row| row.get(0)).unwrap()
}

fn has_second_file(dir: &Path) -> bool {
    ["unsynced.db", "unsynced.db-wal", "unsynced.db-shm"].iter().any(|name| dir.join(name).exists())
}

#[tokio::test]
async fn a_log_of_two_files_is_taken_over_with_all_that_it_promised() {
    let dir = version_1().await;
    let dir = dir.path();
    let [first, second] = [0, 1].map(|partition| number_of(dir, "synced.db", &UPSTREAM.spec, partition));
    let slot = number_of(dir, "unsynced.db", &DELIVERIES.spec, 1);
    // Of each position the one of the later transaction counts, whichever file has it.
    tamper(dir, &format!("INSERT INTO positions VALUES ('workers', {first}, 1, 3), ('workers', {second}, 2, 6)"));
    // A power loss took the records below 7 that the group had worked on.
    let positions = format!("('workers', {first}, 2, 5), ('workers', {second}, 1, 5), ('workers', {slot}, 7, 5)");
    tamper_former(dir, &format!("INSERT INTO positions VALUES {positions}"));
    set_txn(dir, 1, 4);
    // Its commit never reached the other file.
    set_txn(dir, 2, 5);
    let tool = EmbeddedLog::open_read_only(dir).expect_err("a tool read a log of two files");
    assert!(tool.to_string().contains("an earlier version wrote it"), "{tool}");
    let second_file = fs::read(dir.join("unsynced.db")).unwrap();

    let log: Arc<dyn Log> = open(dir);
    assert!(!has_second_file(dir));
    assert_eq!(values(&log, &UPSTREAM.spec, 0).await, ["u", "v", "w"]);
    assert_eq!(values(&log, &DELIVERIES.spec, 0).await, ["first", "second"]);
    assert_eq!(values(&log, &PRESENCE.spec, 0).await, ["here"]);
    let lag = log.lag("workers", &UPSTREAM.spec).await.unwrap();
    assert_eq!([lag[0].committed, lag[1].committed], [Some(2), Some(2)]);
    assert_eq!(values(&log, &DELIVERIES.spec, 1).await, ["a", "b"]);
    assert_eq!(append(&log, &DELIVERIES.spec, 1, &["c"]).await, 7);
    assert_eq!(append(&log, &DELIVERIES.spec, 0, &["third again"]).await, 2);
    drop(log);

    // As a crash leaves it that comes before the second file is removed.
    fs::write(dir.join("unsynced.db"), second_file).unwrap();
    let log: Arc<dyn Log> = open(dir);
    assert!(!has_second_file(dir));
    assert_eq!(values(&log, &DELIVERIES.spec, 0).await, ["first", "second", "third again"]);
    let records = read_all(&log, &DELIVERIES.spec, 1).await;
    let records: Vec<_> = records.iter().map(|record| (record.offset, text(record))).collect();
    assert_eq!(records, [(0, "a".into()), (1, "b".into()), (7, "c".into())]);
    drop(log);
    assert_eq!(EmbeddedLog::open_read_only(dir).unwrap().bounds(&DELIVERIES.spec, 1).await.unwrap().end, 8);
}

#[tokio::test]
async fn a_log_of_two_files_that_lost_commits_is_refused_and_left_as_it_is() {
    let dir = version_1().await;
    set_txn(dir.path(), 1, 5);
    set_txn(dir.path(), 2, 6);
    for _ in 0..2 {
        let error = refused(dir.path());
        assert!(matches!(error, LogError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("lacks transactions from 5"), "{error}");
        assert!(error.to_string().contains("synced.db-wal was damaged or removed"), "{error}");
    }
    // With what was lost it opens.
    tamper(dir.path(), "UPDATE settings SET value = 6 WHERE name = 'last_txn'");
    let log: Arc<dyn Log> = open(dir.path());
    assert_eq!(values(&log, &DELIVERIES.spec, 0).await, ["first", "second", "third"]);
}

#[tokio::test]
async fn a_second_file_may_be_missing_or_empty_but_not_damaged() {
    let dir = version_1().await;
    let file = dir.path().join("unsynced.db");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = refused(dir.path()).to_string();
    assert!(error.contains("unsynced.db") && error.contains("damaged"), "{error}");
    assert!(file.exists());
    fs::write(&file, "").unwrap();
    let log: Arc<dyn Log> = open(dir.path());
    assert_eq!(values(&log, &UPSTREAM.spec, 1).await, ["u", "v", "w"]);
    assert_eq!(append(&log, &DELIVERIES.spec, 0, &["anew"]).await, 0);
    drop(log);

    let dir = version_1().await;
    fs::remove_file(dir.path().join("unsynced.db")).unwrap();
    let log: Arc<dyn Log> = open(dir.path());
    assert_eq!(values(&log, &UPSTREAM.spec, 0).await, ["u", "v", "w"]);
    assert_eq!(append(&log, &DELIVERIES.spec, 0, &["anew"]).await, 0);
}
