//! The log on a real Kafka, whose address the environment gives: the contract, and what is its own.

mod forgotten;
mod kill;
mod old_broker;
mod outage;
#[path = "../../../../tests/src/ports.rs"]
mod ports;
mod rebalance;
mod replaced;
mod setup;
mod transactions;

use std::sync::Arc;

use async_trait::async_trait;
use topics::catalogue::Layout;
use topics::kafka::{KafkaConfig, KafkaLog};
use topics::log::Log;

use crate::contract::{CHAIN_PARTITIONS, Harness, contract_tests};

contract_tests!(kafka);

/// The layout of every log here.
const LAYOUT: Layout = Layout { chain_partitions: CHAIN_PARTITIONS, gateway_slots: 2 };

/// A log with topics and groups of its own on the broker that all tests share.
struct OnKafka {
    config: KafkaConfig,
    log: Arc<dyn Log>,
}

/// The brokers to test on.
#[allow(clippy::disallowed_methods, reason = "where the broker is, only the environment knows")]
fn brokers() -> String {
    std::env::var("GOCHAT_TEST_KAFKA").expect(
        "set GOCHAT_TEST_KAFKA to a broker's host:port; deployment/scripts/start-infra.sh --native --services kafka starts one at 127.0.0.1:19092",
    )
}

/// A configuration whose topics and groups no other test has.
fn config() -> KafkaConfig {
    config_of(&format!("test-{:016x}-", rand::random::<u64>()))
}

/// A configuration whose topics and groups begin with this.
fn config_of(prefix: &str) -> KafkaConfig {
    // All three of a cluster of three.
    let replicas = if brokers().contains(',') { 3 } else { 1 };
    let (topic_prefix, group_prefix) = (prefix.to_owned(), prefix.to_owned());
    KafkaConfig { topic_prefix, group_prefix, replicas, ..KafkaConfig::new(brokers(), LAYOUT) }
}

/// A log of its own on the shared broker.
async fn kafka() -> OnKafka {
    let config = config();
    let log = KafkaLog::connect(config.clone()).await.unwrap();
    OnKafka { config, log }
}

#[async_trait]
impl Harness for OnKafka {
    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    async fn reopen(&mut self) {
        self.log = KafkaLog::connect(self.config.clone()).await.unwrap();
    }
}
