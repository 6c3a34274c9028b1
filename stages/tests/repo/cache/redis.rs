//! The cache on Redis: the contract on a real server, and what its keys look like.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use schemas::ids::{ConversationId, GroupId, Seq};
use stages::repo::cache::redis::upkeep::SERVER_SETTINGS;
use stages::repo::cache::redis::{RedisCache, RedisConfig};
use stages::repo::cache::{Cache, CacheError, KEPT_MESSAGES, Lifetimes, Lookup};

use super::contract::{cache_contract, run_of};
use super::server::{OwnServer, url_of_tests};
use super::store::cached_store_contract;
use crate::fixtures::{ANN, BEN, NOW, pair, user};

/// A configuration whose keys are nobody else's. Calls have more time than in earnest: the machine that
/// runs the tests is busy.
pub fn config() -> RedisConfig {
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), PREFIXES.fetch_add(1, Ordering::SeqCst));
    let key_prefix = format!("test[{process}-{number}]:");
    RedisConfig { url: url_of_tests(), key_prefix, call_timeout_ms: 10_000, ..RedisConfig::default() }
}

fn redis(lifetimes: Lifetimes) -> Arc<dyn Cache> {
    Arc::new(RedisCache::open(&config(), lifetimes).unwrap())
}

cache_contract!(redis);
cached_store_contract!(redis_before_the_store, redis);

#[tokio::test]
async fn redis_keeps_what_the_design_says_for_as_long() {
    let config = config();
    let cache = RedisCache::open(&config, Lifetimes::default()).unwrap();
    cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    let session = stages::repo::cache::UserSession {
        user_id: ANN,
        gateway_id: "gateway-1".into(),
        login_at: NOW,
        last_seen: NOW,
    };
    cache.put_session(&session).await.unwrap();
    cache.fill(pair(), &run_of(pair(), 1..=400, "hi")).await.unwrap();

    let client = redis_client(&config);
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let expected = [
        (format!("user_info:{ANN}:*"), "string", 24 * 3_600),
        (format!("user_session:{ANN}:*"), "hash", 1_800),
        (format!("hot_messages:{}", pair()), "zset", 7 * 24 * 3_600),
        (format!("conv_seq:{}", pair()), "string", 7 * 24 * 3_600),
    ];
    for (pattern, kind, seconds) in expected {
        let escaped = config.key_prefix.replace('[', "\\[").replace(']', "\\]");
        let keys: Vec<String> =
            ::redis::cmd("KEYS").arg(format!("{escaped}{pattern}")).query_async(&mut connection).await.unwrap();
        let [key] = &keys[..] else { panic!("{pattern}: {keys:?}") };
        let of_type: String = ::redis::cmd("TYPE").arg(key).query_async(&mut connection).await.unwrap();
        let left: i64 = ::redis::cmd("TTL").arg(key).query_async(&mut connection).await.unwrap();
        assert_eq!(of_type, kind, "{key}");
        assert!((seconds - 60..=seconds).contains(&left), "{key} is kept for {left} s");
    }
    let count: u64 = ::redis::cmd("ZCARD")
        .arg(format!("{}hot_messages:{}", config.key_prefix, pair()))
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(count, 300);
}

#[tokio::test]
async fn redis_is_shared_by_all_who_have_the_prefix_and_by_nobody_else() {
    let config = config();
    let open = |config: &RedisConfig| RedisCache::open(config, Lifetimes::default()).unwrap();
    let (one, other, stranger) = (open(&config), open(&config), open(&self::config()));
    one.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
    assert_eq!(other.user(ANN).await.unwrap(), Lookup::Found(user(ANN, "ann")));
    assert_eq!(stranger.user(ANN).await.unwrap(), Lookup::Unknown);
    other.forget_user(ANN).await.unwrap();
    assert_eq!(one.user(ANN).await.unwrap(), Lookup::Unknown);
}

#[tokio::test]
async fn redis_is_cleared_under_its_own_prefix_only() {
    let (config, others) = (config(), config());
    let cache = RedisCache::open(&config, Lifetimes::default()).unwrap();
    let other = RedisCache::open(&others, Lifetimes::default()).unwrap();
    for cache in [&cache, &other] {
        cache.put_user(ANN, Some(&user(ANN, "ann"))).await.unwrap();
        cache.put_user(BEN, None).await.unwrap();
        cache.fill(pair(), &run_of(pair(), 1..=3, "hi")).await.unwrap();
    }
    // Two users, the messages, and their newest seq.
    assert_eq!(cache.clear().await.unwrap(), 4);
    assert_eq!(cache.user(ANN).await.unwrap(), Lookup::Unknown);
    assert!(cache.messages(pair(), Seq(1)).await.unwrap().is_empty());
    assert_eq!(other.user(ANN).await.unwrap(), Lookup::Found(user(ANN, "ann")));
}

#[tokio::test]
async fn redis_that_holds_something_else_under_a_key_is_passed_by() {
    let config = config();
    let cache = RedisCache::open(&config, Lifetimes::default()).unwrap();
    let mut connection = redis_client(&config).get_multiplexed_async_connection().await.unwrap();
    let members = format!("{}group_members:{}", config.key_prefix, crate::fixtures::GROUP);
    let () = ::redis::cmd("SET").arg(members).arg("nonsense").query_async(&mut connection).await.unwrap();
    let error = cache.membership(crate::fixtures::GROUP).await.unwrap_err();
    assert!(matches!(error, CacheError::Unreadable { .. }), "{error}");
}

#[test]
fn redis_password_is_never_shown() {
    let config = RedisConfig {
        url: "redis://:in-the-address@127.0.0.1:1/0".into(),
        password: "in-its-place".into(),
        ..RedisConfig::default()
    };
    let shown = format!("{config:?}");
    assert!(!shown.contains("in-the-address") && !shown.contains("in-its-place"), "{shown}");
    let bad = RedisConfig { url: "no address: secret".into(), ..config };
    let error = RedisCache::open(&bad, Lifetimes::default()).map(|_| ()).unwrap_err();
    let causes = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(causes.contains("redis://") && !causes.contains("secret"), "{causes}");
}

#[tokio::test]
async fn redis_begins_with_the_first_message_of_a_conversation_or_where_somebody_reads() {
    let cache = RedisCache::open(&config(), Lifetimes::default()).unwrap();
    let append = async |seqs: std::ops::RangeInclusive<i64>| {
        let run = run_of(pair(), seqs, "hi");
        cache.append(&run.iter().map(|message| &**message).collect::<Vec<_>>()).await.unwrap();
        cache.messages(pair(), Seq(1)).await.unwrap().len()
    };
    assert_eq!(append(7..=9).await, 0);
    assert_eq!(append(1..=400).await, KEPT_MESSAGES);
    assert_eq!(append(401..=402).await, KEPT_MESSAGES);
}

#[tokio::test]
async fn redis_keeps_to_the_room_that_was_measured_for_so_many_messages() {
    // So many that the buffers of connections, which take of the same room, do not count.
    const MESSAGES: u64 = 80_000;
    const CONVERSATIONS: i64 = 2 * MESSAGES as i64 / 100;
    let server = OwnServer::start().await;
    let config = RedisConfig { url: server.url(), ..config() };
    let cache = RedisCache::open(&config, Lifetimes::default()).unwrap();
    let conversation = |n| ConversationId::Group(GroupId(n));
    let sample = run_of(conversation(1), 1..=100, &"x".repeat(128));
    let room = cache.make_room(MESSAGES, conversation(1), &sample).await.unwrap();
    assert!((128..=320).contains(&room.message_bytes), "{room:?}");
    assert!(room.bytes <= room.message_bytes * MESSAGES && room.bytes > (room.message_bytes - 1) * MESSAGES);
    assert_eq!(cache.key_count().await.unwrap(), 0);

    let mut connection = server.connection().await;
    for n in 1..=CONVERSATIONS {
        cache.fill(conversation(n), &run_of(conversation(n), 1..=100, &"x".repeat(128))).await.unwrap();
    }
    let mut kept = 0;
    for n in 1..=CONVERSATIONS {
        kept += cache.messages(conversation(n), Seq(1)).await.unwrap().len() as u64;
    }
    assert!((MESSAGES * 9 / 10..=MESSAGES).contains(&kept), "{kept} messages");
    cache.fill(conversation(1), &run_of(conversation(1), 1..=300, "hi")).await.unwrap();
    let key = format!("{}hot_messages:{}", config.key_prefix, conversation(1));
    let encoding: String = ::redis::cmd("OBJECT").arg("ENCODING").arg(key).query_async(&mut connection).await.unwrap();
    assert_eq!(encoding, "listpack");
}

#[test]
fn redis_settings_are_those_of_the_scripts() {
    let script = include_str!("../../../../deployment/infrastructure/redis/redis.sh");
    for (name, value) in SERVER_SETTINGS {
        assert!(script.lines().any(|line| line == format!("{name} {value}")), "redis.sh has {name} {value}");
    }
}

fn redis_client(config: &RedisConfig) -> ::redis::Client {
    ::redis::Client::open(config.url.as_str()).unwrap()
}
