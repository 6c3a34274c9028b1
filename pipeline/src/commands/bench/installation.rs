//! What a benchmark runs on: a log, a store and topics of its own.

use std::path::Path;

use topics::clock::Clock;

use crate::cli;
use crate::config::{Config, LogKind};

/// Where a benchmark's log is.
#[derive(Debug, Clone, Copy)]
pub struct BenchedLog<'a> {
    /// Which.
    pub kind: cli::LogKind,
    /// The brokers, when it is Kafka.
    pub brokers: &'a str,
    /// Partitions of the chain topics.
    pub partitions: u32,
    /// Gateways that there can be.
    pub slots: u32,
}

impl BenchedLog<'_> {
    /// The defaults, with data in `dir`, and topics and groups that no other run shares.
    pub fn config(&self, dir: &Path) -> Config {
        let part = dir.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
        let prefix = format!("bench-{}-{part}-", Clock::system().now_ms());
        let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
        config.log.chain_partitions = self.partitions;
        config.log.gateway_slots = self.slots;
        config.log.kind = match self.kind {
            cli::LogKind::Embedded => LogKind::Embedded,
            cli::LogKind::Kafka => LogKind::Kafka,
        };
        self.brokers.clone_into(&mut config.log.kafka.brokers);
        config.log.kafka.topic_prefix.clone_from(&prefix);
        config.log.kafka.group_prefix = prefix;
        config
    }

    /// For people.
    pub fn described(&self) -> &'static str {
        match self.kind {
            cli::LogKind::Embedded => "embedded, SQLite, WAL, an fsync before each acknowledgement of a durable topic",
            cli::LogKind::Kafka => "Kafka, one replica, acks=all, transactions; the broker flushes as it is set to",
        }
    }
}
