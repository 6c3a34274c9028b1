//! A Redis that stands still, dies, or comes back with what it knew long ago: answers stay right.

use std::sync::Arc;
use std::time::Duration;

use guard::BreakerState;
use schemas::ids::Seq;
use stages::repo::cache::redis::{RedisCache, RedisConfig};
use stages::repo::cache::{Cache, Lifetimes, Lookup};
use stages::repo::model::HistoryRange;
use tokio::time::Instant;

use super::server::{OwnServer, SOON};
use super::store::Both;
use crate::fixtures::{ANN, BEN, pair, text, user, with_users, write};

const CALL_TIMEOUT_MS: u64 = 200;

fn cache_on(server: &OwnServer) -> RedisCache {
    let config = RedisConfig {
        url: server.url(),
        call_timeout_ms: CALL_TIMEOUT_MS,
        breaker_failures_in_a_row_max: 3,
        breaker_open_ms: 200,
        ..RedisConfig::default()
    };
    RedisCache::open(&config, Lifetimes::default()).unwrap()
}

/// Ann, Ben, and ten messages, all of them in the cache.
async fn warm(cache: &RedisCache) -> Both {
    let both = Both::over(Arc::new(cache.clone())).await;
    with_users(&both.store).await;
    write(&both.cached, &(1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "warm").await;
    assert_eq!((both.name(ANN).await.as_str(), both.name(BEN).await.as_str()), ("ANN", "BEN"));
    assert_eq!(both.kept().await, 10);
    both
}

/// The store's answers, though Redis gives none; soon without asking it.
async fn is_right_without_redis(both: &Both, cache: &RedisCache, head: i64) {
    let started = Instant::now();
    let mut reads = 0;
    while cache.breaker() == BreakerState::Closed {
        both.agree_on(HistoryRange::Newest, 1, 50, "without Redis").await;
        reads += 1;
        assert!(reads <= 3, "the breaker opens after three failures");
    }
    write(&both.cached, &[text(pair(), head, BEN, "said meanwhile")]).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "without Redis").await;
    both.rename(&both.cached, ANN, "Anna").await;
    assert_eq!((both.name(ANN).await.as_str(), both.name(BEN).await.as_str()), ("Anna", "BEN"));
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
}

/// Everything is used again, and is as it is now.
async fn comes_back(both: &Both, cache: &RedisCache, head: i64) {
    let deadline = Instant::now() + SOON;
    while cache.breaker() != BreakerState::Closed || cache.user(BEN).await.is_err() {
        assert!(Instant::now() < deadline, "Redis is back, and not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(both.name(ANN).await, "Anna");
    write(&both.cached, &[text(pair(), head, BEN, "said after")]).await;
    both.agree_on(HistoryRange::Newest, 1, 50, "Redis is back").await;
    both.agree_on(HistoryRange::Newest, 1, 50, "Redis is back").await;
    assert!(both.kept().await >= usize::try_from(head).unwrap());
}

#[tokio::test]
async fn redis_that_stands_still_costs_no_answer_and_is_used_again_when_it_moves() {
    let server = OwnServer::start().await;
    let cache = cache_on(&server);
    let both = warm(&cache).await;
    server.suspend();
    is_right_without_redis(&both, &cache, 11).await;
    server.resume();
    comes_back(&both, &cache, 12).await;
}

#[tokio::test]
async fn redis_that_is_killed_costs_no_answer_and_is_used_again_when_it_starts() {
    let mut server = OwnServer::start().await;
    let cache = cache_on(&server);
    let both = warm(&cache).await;
    server.kill();
    is_right_without_redis(&both, &cache, 11).await;
    server.start_again().await;
    comes_back(&both, &cache, 12).await;
}

#[tokio::test]
async fn redis_that_is_not_there_at_the_start_is_used_when_it_comes() {
    let mut server = OwnServer::start().await;
    server.kill();
    let cache = cache_on(&server);
    let both = Both::over(Arc::new(cache.clone())).await;
    with_users(&both.cached).await;
    write(&both.cached, &(1..=10).map(|seq| text(pair(), seq, ANN, "hi")).collect::<Vec<_>>()).await;
    is_right_without_redis(&both, &cache, 11).await;
    server.start_again().await;
    comes_back(&both, &cache, 12).await;
}

#[tokio::test]
async fn redis_restored_from_an_old_snapshot_shows_nothing_old() {
    let mut server = OwnServer::start().await;
    let cache = cache_on(&server);
    let both = warm(&cache).await;
    let old = server.snapshot().await;
    // What the snapshot does not know: a name, an edit, more messages, no end of them, and a user.
    both.rename(&both.cached, ANN, "Anna").await;
    let edit = crate::fixtures::about(schemas::kind::Kind::Edit, 9, 10, text(pair(), 11, ANN, "changed"));
    write(&both.cached, &[edit, text(pair(), 12, BEN, "said later")]).await;
    server.kill();
    server.restore(&old);
    server.start_again().await;
    let deadline = Instant::now() + SOON;
    while both.cache.messages(pair(), Seq(1)).await.map_or(0, |messages| messages.len()) != 10 {
        assert!(Instant::now() < deadline, "the server has its ten old messages again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    both.agree_on(HistoryRange::Newest, 1, 50, "restored").await;
    assert_eq!(both.name(ANN).await, "Anna");
    comes_back(&both, &cache, 13).await;
}

#[tokio::test]
async fn redis_that_was_away_forgets_what_changed_before_it_is_asked_again() {
    let server = OwnServer::start().await;
    let (here, elsewhere) = (cache_on(&server), cache_on(&server));
    let both = warm(&here).await;
    assert_eq!(elsewhere.user(ANN).await.unwrap(), Lookup::Found(user(ANN, "ann")));
    server.suspend();
    both.rename(&both.cached, ANN, "Anna").await;
    server.resume();
    // Without any call, pending invalidations are sent all the same.
    let deadline = Instant::now() + SOON;
    while !matches!(elsewhere.user(ANN).await, Ok(Lookup::Unknown)) {
        assert!(Instant::now() < deadline, "another process still reads the old name");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
