//! The log that a benchmark runs on, with topics of its own.

use std::path::Path;

use pipeline::config::{Config, LogKind};
use topics::clock::Clock;

/// Where a benchmark's log is.
#[derive(Debug, Clone, Copy)]
pub struct BenchedLog<'a> {
    pub kind: LogKind,
    /// The brokers, when it is Kafka.
    pub brokers: &'a str,
    /// Partitions of the chain topics.
    pub partitions: u32,
}

/// Gateways that there can be.
pub const BENCHED_SLOTS: u32 = 2;

impl BenchedLog<'_> {
    /// The defaults, with data in `dir`, and topics and groups that no other run shares.
    pub fn config(&self, dir: &Path) -> Config {
        let part = dir.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
        let prefix = format!("bench-{}-{part}-", Clock::system().now_ms());
        let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
        config.log.chain_partitions = self.partitions;
        config.log.gateway_slots = BENCHED_SLOTS;
        config.log.kind = self.kind;
        self.brokers.clone_into(&mut config.log.kafka.brokers);
        config.log.kafka.topic_prefix.clone_from(&prefix);
        config.log.kafka.group_prefix = prefix;
        config
    }

    pub fn described(&self) -> &'static str {
        match self.kind {
            LogKind::Embedded => "embedded, SQLite, WAL, an fsync before each acknowledgement",
            LogKind::Kafka => "Kafka, one replica, acks=all, transactions; the broker flushes as it is set to",
        }
    }
}
