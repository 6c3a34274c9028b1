//! The store in a SQLite file: the contract, and what only a file has.

use crate::contract::store_contract;
use crate::fixtures::{ANN, pair, sqlite_store, text, write};
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
async fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "this is not a database, whatever it is called, and it is long enough to see").unwrap();
    let error = SqliteStore::open(&path, SqliteConfig::default()).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("notes.txt"), "{error}");
}
