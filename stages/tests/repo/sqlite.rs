//! The store in a SQLite file: the contract, and what only a file has.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::contract::store_contract;
use crate::fixtures::{
    ANN, before_edits_were_blanked, before_emails_were_unique, check_edits_are_blanked, check_reads_only,
    check_the_oldest_keeps_the_address, pair, sqlite_store, text, with_users, write,
};
use schemas::ids::Seq;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Class, Store};

store_contract!(contract, crate::fixtures::sqlite_store);

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let test = sqlite_store().await;
    write(&test.store, &[text(pair(), 1, ANN, "still here")]).await;
    drop(test.store);
    let again = SqliteStore::open(&test.dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();
    let message = again.message_at(pair(), Seq(1)).await.unwrap().unwrap();
    assert_eq!(message.content, "still here");
    again.close().await;
}

#[tokio::test]
async fn of_users_with_one_email_address_the_oldest_keeps_it() {
    let test = sqlite_store().await;
    with_users(&test.store).await;
    drop(test.store);
    let path = test.dir.path().join("repo.db");
    let mut file = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    for sql in before_emails_were_unique("DROP INDEX users_by_email") {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
    let again: Arc<dyn Store> = SqliteStore::open(&path, SqliteConfig::default()).await.unwrap();
    check_the_oldest_keeps_the_address(&again).await;
}

#[tokio::test]
async fn edits_of_messages_that_were_recalled_before_are_blanked() {
    let test = sqlite_store().await;
    let before = before_edits_were_blanked(&test.store, "DROP INDEX messages_by_target").await;
    drop(test.store);
    let path = test.dir.path().join("repo.db");
    let mut file = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    for sql in before {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
    let again: Arc<dyn Store> = SqliteStore::open(&path, SqliteConfig::default()).await.unwrap();
    check_edits_are_blanked(&again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_processes_that_start_at_once_one_makes_the_tables() {
    // In one of four times two of the processes meet in a lock that SQLite does not wait for.
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let path = dir.path().join("repo.db");
            opening.spawn(async move { SqliteStore::open(&path, SqliteConfig::default()).await.unwrap() });
        }
        for store in opening.join_all().await {
            store.write_batch(&[&text(pair(), 1, ANN, "hi")]).await.unwrap();
            store.close().await;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "this is not a database, whatever it is called, and it is long enough to see").unwrap();
    let error = SqliteStore::open(&path, SqliteConfig::default()).await.err().unwrap();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("notes.txt"), "{error}");
}

#[tokio::test]
async fn a_locked_file_is_tried_again_and_nothing_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.db");
    let impatient = SqliteConfig { busy_timeout_ms: 10, ..SqliteConfig::default() };
    let store = SqliteStore::open(&path, impatient).await.unwrap();
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let message = text(pair(), 1, ANN, "hi");
    let error = store.write_batch(&[&message]).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error:?}");
    assert!(error.to_string().contains("repo.db"), "{error}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.write_batch(&[&message]).await.unwrap();
    assert_eq!(store.message_at(pair(), Seq(1)).await.unwrap().unwrap().content, "hi");
}

#[tokio::test]
async fn a_tool_reads_beside_the_writer_and_changes_nothing() {
    let test = sqlite_store().await;
    let path = test.dir.path().join("repo.db");
    let reader = SqliteStore::open_read_only(&path, SqliteConfig::default()).await.unwrap();
    check_reads_only(&*reader, &test.store).await;
    let absent = test.dir.path().join("absent.db");
    let error = SqliteStore::open_read_only(&absent, SqliteConfig::default()).await.err().unwrap();
    assert!(error.to_string().contains("absent.db"), "{error}");
    assert!(!absent.exists());
}

#[tokio::test]
async fn a_full_file_is_tried_again_and_the_next_batch_that_fits_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let small = SqliteConfig { file_pages_max: Some(100), ..SqliteConfig::default() };
    let store = SqliteStore::open(&dir.path().join("repo.db"), small).await.unwrap();
    let long = "x".repeat(8_192);
    let large: Vec<_> = (1..=100).map(|seq| text(pair(), seq, ANN, &long)).collect();
    for _ in 0..2 {
        let error = store.write_batch(&large.iter().collect::<Vec<_>>()).await.unwrap_err();
        assert_eq!(error.class(), Class::Retry, "{error:?}");
    }
    assert!(store.message_at(pair(), Seq(1)).await.unwrap().is_none(), "nothing was changed");
    store.write_batch(&[&large[0]]).await.unwrap();
    assert_eq!(store.message_at(pair(), Seq(1)).await.unwrap().unwrap().content, long);
}
