//! A store that is ill, behind its guard.

use std::sync::Arc;
use std::time::Duration;

use schemas::ids::Seq;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use stages::repo::cache::Lifetimes;
use stages::repo::cache::local::{LocalCache, LocalConfig};
use stages::repo::cached::CachedStore;
use stages::repo::guarded::{GuardedStore, GuardedStoreConfig};
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{Class, Conversations, MessageSink, Store, Users};
use tokio::time::Instant;

use crate::fixtures::{ANN, pair, text, user, write};

#[tokio::test]
async fn a_store_that_is_ill_is_left_alone_and_used_again_once_it_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.db");
    let patient = SqliteConfig { busy_timeout_ms: 60_000, acquire_timeout_ms: 60_000, ..SqliteConfig::default() };
    let bare: Arc<dyn Store> = SqliteStore::open(&path, patient).await.unwrap();
    let config = GuardedStoreConfig {
        write_timeout_ms: 100,
        breaker_failures_in_a_row_max: 2,
        breaker_open_ms: 200,
        ..GuardedStoreConfig::default()
    };
    let store = GuardedStore::new(bare.clone(), &config);
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for (attempt, why) in ["did not answer", "did not answer", "left alone"].into_iter().enumerate() {
        let error = store.create_user(&user(ANN, "ann"), None).await.unwrap_err();
        assert_eq!(error.class(), Class::Retry, "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(why), "attempt {attempt}: {cause}");
    }
    // Reads go on: SQLite's readers do not wait for the writer.
    assert_eq!(store.user(ANN).await.unwrap(), None);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.create_user(&user(ANN, "ann"), None).await {
        // One that was given up may have been done.
        if matches!(error.class(), Class::Refused(_)) {
            break;
        }
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.user(ANN).await.unwrap().is_some());
}

#[tokio::test]
async fn the_chain_is_never_refused_by_the_guard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.db");
    let impatient = SqliteConfig { busy_timeout_ms: 10, ..SqliteConfig::default() };
    let bare: Arc<dyn Store> = SqliteStore::open(&path, impatient).await.unwrap();
    let config = GuardedStoreConfig {
        breaker_failures_in_a_row_max: 1,
        breaker_open_ms: 3_600_000,
        ..GuardedStoreConfig::default()
    };
    let cache = Arc::new(LocalCache::new(&LocalConfig::default(), Lifetimes::default()));
    let guarded = GuardedStore::new(bare.clone(), &config);
    let store = Arc::new(CachedStore::new(bare, Arc::new(guarded), cache));
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    store.create_user(&user(ANN, "ann"), None).await.unwrap_err();
    let message = text(pair(), 1, ANN, "hi");
    for _ in 0..5 {
        let error = store.write_batch(&[&message]).await.unwrap_err();
        assert!(error.to_string().contains("repo.db"), "the database itself was asked: {error}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    write(&store, &[message]).await;
    assert_eq!(store.extent(pair()).await.unwrap().last, Seq(1));
}
