//! The chain on a real Kafka, its roles in processes of their own, twice each: every role and the broker
//! are killed while fifty users talk, and one stage is stopped until it has become a zombie.

use std::net::SocketAddr;
use std::time::Duration;

use tests::broker::Broker;
use tests::installation::{Installation, Part, Settings};
use tests::server::{Server, any_port};

use crate::talk::Talk;
use crate::tools::holds;

/// Longer than the session timeout of 6 s: the group has given its partitions away.
const ZOMBIE_TIME: Duration = Duration::from_secs(9);
/// The script is said in so many portions: one for each of the eight faults, and two after them.
const PORTIONS: usize = 10;

const PARTS: [Part; 11] = [
    Part::new("repo", 0),
    Part::new("dedupe,id-assign", 1),
    Part::new("dedupe,id-assign", 2),
    Part::new("persist", 3),
    Part::new("persist", 4),
    Part::new("fan-out", 5),
    Part::new("fan-out", 6),
    Part::new("large-group", 7),
    Part::new("large-group", 8),
    Part::new("gateway", 9),
    Part { slot: 1, ..Part::new("gateway", 10) },
];

/// The processes of an installation.
struct Cluster {
    installation: Installation,
    broker: Broker,
    servers: Vec<Server>,
    /// Where the repo answers.
    grpc: SocketAddr,
}

impl Cluster {
    async fn start() -> Self {
        let broker = Broker::start().await;
        let installation = Installation::new(Settings::on(broker.address()));
        let repo = installation.start(PARTS[0], any_port(), any_port()).await;
        let grpc = repo.grpc;
        let mut cluster = Self { installation, broker, servers: vec![repo], grpc };
        for part in &PARTS[1..] {
            let server = cluster.installation.start(*part, any_port(), grpc).await;
            cluster.servers.push(server);
        }
        cluster
    }

    fn gateways(&self) -> Vec<SocketAddr> {
        let of = |(part, server): (&Part, &Server)| (part.roles == "gateway").then_some(server.http);
        PARTS.iter().zip(&self.servers).filter_map(of).collect()
    }

    /// Kills a process and starts it again.
    async fn crash(&mut self, at: usize) {
        let server = self.servers.remove(at);
        let http = server.http;
        server.kill().await;
        let again = self.installation.start(PARTS[at], http, self.grpc).await;
        self.servers.insert(at, again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_every_role_and_the_broker_may_die_while_fifty_users_talk() {
    let mut cluster = Cluster::start().await;
    let gateways = cluster.gateways();
    let mut talk = Talk::begin(&gateways, cluster.grpc).await;

    // One of each role; the other takes over.
    for at in [1, 3, 5, 7, 9, 0] {
        println!("kill {:?}", PARTS[at]);
        talk.say_part(PORTIONS);
        talk.goes_on().await;
        cluster.crash(at).await;
    }
    println!("zombie {:?}", PARTS[2]);
    talk.say_part(PORTIONS);
    talk.goes_on().await;
    cluster.servers[2].signal("STOP").await;
    tokio::time::sleep(ZOMBIE_TIME).await;
    cluster.servers[2].signal("CONT").await;
    println!("kill the broker");
    talk.say_part(PORTIONS);
    talk.goes_on().await;
    cluster.broker.kill().await;
    cluster.broker.start_again().await;
    talk.say_part(PORTIONS);
    talk.goes_on().await;

    talk.end(gateways[0]).await;
    let (config, data) = (cluster.installation.config(), cluster.installation.data());
    holds(&["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]).await;
    Server::stop_all(cluster.servers.into_iter().rev()).await;
}
