//! The chain on a real Kafka with a real database: it stands still for 20 s while fifty users talk.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tests::broker::Broker;
use tests::server::{Server, any_port};
use tests::service::Service;

use crate::talk::Talk;

/// Longer than every call waits: all that is under way then is given up and tried again.
const STANDSTILL: Duration = Duration::from_secs(20);
const PORTIONS: usize = 4;

/// Roles that share a process; the number tells the processes apart.
const PARTS: [(&str, u16); 4] =
    [("repo", 0), ("dedupe,id-assign,fan-out,large-group", 1), ("persist", 2), ("persist,gateway", 3)];

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_mariadb_goes_on_after_the_database_stood_still() {
    goes_on_after_the_database_stood_still("mariadb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_postgres_goes_on_after_the_database_stood_still() {
    goes_on_after_the_database_stood_still("postgres").await;
}

async fn goes_on_after_the_database_stood_still(database: &'static str) {
    let (dir, broker) = (tempfile::tempdir().unwrap(), Broker::start().await);
    let database = Service::start(database).await;
    let config = format!(
        "[log]\nkind = \"kafka\"\nchain_partitions = 4\ngateway_slots = 1\n\
         [log.kafka]\nbrokers = \"{}\"\n[stages]\ntasks_per_stage = 1\n\
         [repo.store]\nurl = \"{}\"\n[repo.store.server]\ncall_timeout_ms = 5000\n",
        broker.address(),
        database.url()
    );
    std::fs::write(dir.path().join("gochat.toml"), config).unwrap();
    let repo = launch(dir.path(), PARTS[0], any_port()).await;
    let grpc = repo.grpc;
    let mut servers = vec![repo];
    for part in &PARTS[1..] {
        servers.push(launch(dir.path(), *part, grpc).await);
    }
    let http = servers[3].http;
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

    talk.end(http).await;
    for server in servers.drain(..).rev() {
        assert!(server.stop().await.success());
    }
}

async fn launch(dir: &Path, (roles, instance): (&str, u16), grpc: SocketAddr) -> Server {
    let config = dir.join("gochat.toml").display().to_string();
    let instance = instance.to_string();
    let args = ["--config", &config, "--roles", roles, "--instance", &instance, "--slot", "0"];
    Server::start_with(&dir.join("data"), any_port(), grpc, &args.map(str::to_owned)).await
}
