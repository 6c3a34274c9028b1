//! The chain on a real Kafka with a real database, and the cache on a real Redis before it: the database stands
//! still for 20 s while fifty users talk.

use std::time::Duration;

use tests::api::Api;
use tests::broker::Broker;
use tests::installation::{Installation, Part, Settings};
use tests::redis::Redis;
use tests::server::{Server, any_port};
use tests::service::Service;
use tokio::time::Instant;

use crate::talk::{CATCH_UP_TIME_MAX, Talk, histories};
use crate::tools::holds;

/// Longer than every call waits: all that is under way then is given up and tried again.
const STANDSTILL: Duration = Duration::from_secs(20);
const PORTIONS: usize = 4;

const PARTS: [Part; 4] = [
    Part::new("repo,gateway", 0),
    Part::new("dedupe,id-assign,fan-out,large-group", 1),
    Part::new("persist", 2),
    Part::new("persist", 3),
];

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_mariadb_redis_goes_on_after_the_database_stood_still() {
    goes_on_after_the_database_stood_still("mariadb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_postgres_redis_goes_on_after_the_database_stood_still() {
    goes_on_after_the_database_stood_still("postgres").await;
}

async fn goes_on_after_the_database_stood_still(database: &'static str) {
    let (broker, database, redis) = (Broker::start().await, Service::start(database).await, Redis::start().await);
    let (store_url, cache_url) = (Some(database.url()), Some(redis.url().to_owned()));
    let installation = Installation::new(Settings { store_url, cache_url, ..Settings::on(broker.address()) });
    let repo = installation.start(PARTS[0], any_port(), any_port()).await;
    let (http, grpc) = (repo.http, repo.grpc);
    let mut servers = vec![repo];
    for part in &PARTS[1..] {
        servers.push(installation.start(*part, any_port(), grpc).await);
    }
    let mut talk = Talk::begin(&[http], grpc).await;

    talk.say_part(PORTIONS);
    talk.goes_on().await;
    println!("the database stands still");
    database.signal("STOP").await;
    talk.say_part(PORTIONS);
    tokio::time::sleep(STANDSTILL).await;
    database.signal("CONT").await;
    println!("the database goes on");
    talk.say_part(PORTIONS);
    talk.goes_on().await;

    let cast = talk.end(http).await;
    // Redis is left alone for a while where the machine is busy with what had waited.
    let (api, deadline) = (Api::new(http), Instant::now() + CATCH_UP_TIME_MAX);
    while api.metric("gochat_cache_hits_total{what=\"messages\"}").await == 0.0 {
        assert!(Instant::now() < deadline, "histories are never read from Redis");
        histories(&api, &cast).await;
    }
    let (config, data) = (installation.config(), installation.data());
    holds(&["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]).await;
    Server::stop_all(servers.into_iter().rev()).await;
}
