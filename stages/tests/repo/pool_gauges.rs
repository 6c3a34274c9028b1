//! What metrics say of connections to the store.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use tokio::time::{sleep, timeout};

use crate::fixtures::{ANN, pair, text};
use crate::served::SOON;

const IN_USE: &str = "gochat_queue_length{queue=\"store-writer-connections\"}";
const LIMIT: &str = "gochat_queue_limit{queue=\"store-writer-connections\"}";
const WAITING: &str = "gochat_store_waiting_calls{pool=\"store-writer-connections\"}";
const WAITED: &str = "gochat_store_connection_wait_seconds_count{pool=\"store-writer-connections\"}";

/// The value of a line of the page.
fn value(page: &PrometheusHandle, line: &str) -> f64 {
    let page = page.render();
    let found = page.lines().find_map(|shown| shown.strip_prefix(line));
    found.unwrap_or_else(|| panic!("{line} is not in {page}")).trim().parse().unwrap()
}

async fn comes_to(page: &PrometheusHandle, line: &str, wanted: f64) {
    let shown = timeout(SOON, async {
        while value(page, line) != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(shown.await.is_ok(), "{line} is {}, not {wanted}", value(page, line));
}

#[test]
fn a_pool_whose_connections_are_all_in_use_shows_it_and_how_many_wait() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(fills_and_empties(&page)));
}

async fn fills_and_empties(page: &PrometheusHandle) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.db");
    let store = SqliteStore::open(&path, SqliteConfig::default()).await.unwrap();
    assert_eq!((value(page, IN_USE), value(page, LIMIT), value(page, WAITING)), (0.0, 1.0, 0.0));

    let mut outsider = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    outsider.execute("BEGIN IMMEDIATE").await.unwrap();
    let call = |seq| {
        let store = store.clone();
        tokio::spawn(async move { store.write_batch(&[&text(pair(), seq, ANN, "hi")]).await })
    };
    let calls = [call(1), call(2), call(3)];
    comes_to(page, WAITING, 2.0).await;
    assert_eq!((value(page, IN_USE), value(page, LIMIT)), (1.0, 1.0), "the one that writes waits for the lock");
    // Who does not wait any longer is not counted any longer.
    let [first, second, third] = calls;
    third.abort();
    comes_to(page, WAITING, 1.0).await;

    outsider.execute("ROLLBACK").await.unwrap();
    for call in [first, second] {
        timeout(SOON, call).await.unwrap().unwrap().unwrap();
    }
    assert_eq!((value(page, IN_USE), value(page, LIMIT), value(page, WAITING)), (0.0, 1.0, 0.0));
    assert_eq!(value(page, WAITED), 2.0);
    store.close().await;
    drop(store);
    assert_eq!(value(page, LIMIT), 0.0, "a store that is gone has no connections");
}
