//! The cache on Redis under load: it serves, it stands still for a while, it serves again; nothing is
//! lost, and nobody waits for it. The same over TLS, from a server that can be trusted and one that cannot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::api::Api;
use tests::redis::{Redis, make_authority};
use tests::server::{Launch, Server, any_port, binary};
use tests::users::{Talker, registered};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::talk::Talk;

const HITS: &str = "gochat_cache_hits_total{what=\"messages\"}";
const MISSES: &str = "gochat_cache_misses_total{what=\"messages\"}";
/// For how long Redis stands still.
const STANDSTILL: Duration = Duration::from_secs(20);
/// How long it may take until what happened shows in the metrics.
const SEEN_TIME_MAX: Duration = Duration::from_secs(60);

/// Writes a configuration with the cache on Redis, and returns its path.
fn configured(dir: &Path, redis: &Redis) -> String {
    let path = dir.join("gochat.toml");
    let text = format!("[repo.cache]\nkind = \"redis\"\n[repo.cache.redis]\nurl = \"{}\"\n", redis.url());
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn until(server: &Server, name: &str, holds: impl Fn(f64) -> bool) {
    let (api, deadline) = (Api::new(server.http), Instant::now() + SEEN_TIME_MAX);
    while !holds(api.metric(name).await) {
        assert!(Instant::now() < deadline, "{name} is {}", api.metric(name).await);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_stands_still_for_20_s_under_load_loses_nothing() {
    const BREAKER: &str = "gochat_breaker_state{service=\"redis\"}";
    let (data, redis) = (tempfile::tempdir().unwrap(), Redis::start().await);
    let args = ["--config".into(), configured(data.path(), &redis)];
    let server = Server::start_with(data.path(), any_port(), any_port(), &args).await;
    let mut talk = Talk::begin(&[server.http], server.grpc).await;
    talk.say_part(3);
    talk.goes_on().await;
    redis.signal("STOP");
    let standing_still = Instant::now();
    talk.say_part(3);
    talk.goes_on().await;
    until(&server, BREAKER, |state| state > 0.0).await;
    sleep(STANDSTILL.saturating_sub(standing_still.elapsed())).await;
    redis.signal("CONT");
    talk.say_part(3);
    talk.goes_on().await;
    until(&server, BREAKER, |state| state == 0.0).await;
    talk.end(server.http).await;
    assert!(Api::new(server.http).metric(HITS).await > 0.0, "histories were read from the cache");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_filled_from_the_store_by_rebuild_cache() {
    let (data, redis) = (tempfile::tempdir().unwrap(), Redis::start().await);
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let mut talker = Talker::connect(&server, &ann).await;
    for _ in 0..5 {
        talker.say(&pair, "hi").await;
    }
    let expected = api.history(&ann, &pair).await;
    assert_eq!(expected.len(), 5);
    assert!(server.stop().await.success());

    let rebuild = || {
        let mut command = Command::new(binary());
        command.args(["rebuild", "cache", "--data"]).arg(data.path());
        command
    };
    let refused = rebuild().output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("nothing to rebuild"), "{said}");
    let config = configured(data.path(), &redis);
    let done = rebuild().args(["--config", &config]).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("5 messages"), "{said}");

    let server = Server::start_with(data.path(), any_port(), any_port(), &["--config".into(), config]).await;
    let api = Api::new(server.http);
    assert_eq!(api.history(&ann, &pair).await, expected);
    assert_eq!((api.metric(HITS).await > 0.0, api.metric(MISSES).await), (true, 0.0));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_serves_who_knows_its_password_and_only_when_its_authority_is_trusted() {
    const ERRORS: &str = "gochat_cache_errors_total{what=\"messages\"}";
    const PASSWORD: &str = "correct horse";
    let (data, redis) = (tempfile::tempdir().unwrap(), Redis::start_with_tls(PASSWORD).await);
    let foreign = tempfile::tempdir().unwrap();
    make_authority(foreign.path());
    let config = configured(data.path(), &redis);
    let start = async |password: &str, authority: PathBuf| {
        let authority = authority.display().to_string();
        let env = [("GOCHAT__REPO__CACHE__REDIS__PASSWORD", password), ("SSL_CERT_FILE", &authority)];
        let launch = Launch::new(&["--config", &config], &env);
        Server::launch(data.path(), any_port(), any_port(), &launch).await.unwrap()
    };

    let server = start(PASSWORD, redis.authority()).await;
    let api = Api::new(server.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    Talker::connect(&server, &ann).await.say(&pair, "hi").await;
    let expected = api.history(&ann, &pair).await;
    assert_eq!(expected.len(), 1);
    let deadline = Instant::now() + SEEN_TIME_MAX;
    while api.metric(HITS).await == 0.0 {
        assert!(Instant::now() < deadline, "histories are read from the cache");
        assert_eq!(api.history(&ann, &pair).await, expected);
    }
    assert!(server.stop().await.success());

    for (password, authority) in [("wrong", redis.authority()), (PASSWORD, foreign.path().join("authority.pem"))] {
        let server = start(password, authority).await;
        let api = Api::new(server.http);
        assert_eq!(api.history(&ann, &pair).await, expected, "it costs speed, not the answer");
        assert_eq!((api.metric(HITS).await, api.metric(ERRORS).await > 0.0), (0.0, true), "{password}");
        assert!(server.stop().await.success());
    }
}
