//! Checks the whole configuration: each section by its own crate, then what must fit together across sections.

use schemas::setting::{InvalidSetting, Section};
use schemas::snowflake::INSTANCES;
use stages::presence::SLOT_SILENT_MS_MAX;
use topics::catalogue::DEDUPE_WINDOW_MAX;
use topics::embedded::CALL_BYTES_MAX;

use super::{Address, Config, KafkaSection, LogKind, TASKS_PER_STAGE_MAX};

/// Partitions of a topic.
const PARTITIONS_MAX: u32 = 1_024;
/// Bytes of a batch whose outputs, with changelogs and recipients, the embedded log takes in one commit.
const EMBEDDED_BATCH_BYTES_MAX: usize = CALL_BYTES_MAX / 4;

/// MiB that an empty process takes, with room for a few messages.
const MEMORY_MIB_MIN: u64 = 64;

/// A gateway counts as dead after three missed heartbeats.
const _: () = assert!(3 * gateway::HEARTBEAT_EVERY.as_millis() <= SLOT_SILENT_MS_MAX.cast_unsigned() as u128);

impl Config {
    /// Checks the values.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let all = Section("");
        all.within("instance", self.instance, 0..=INSTANCES / TASKS_PER_STAGE_MAX - 1)?;
        all.within("grace_seconds", self.grace_seconds, 1..=600)?;
        all.within("disk_reserve_mib", self.disk_reserve_mib, 0..=1 << 40)?;
        all.within("disk_reserve_percent", self.disk_reserve_percent, 0..=100)?;
        all.within("memory_mib_max", self.memory_mib_max, MEMORY_MIB_MIN..=1 << 30)?;
        all.within("memory_percent_max", self.memory_percent_max, 1..=100)?;
        self.check_log(Section("log"))?;
        self.check_stages(Section("stages"))?;
        self.repo.limits.check(Section("repo.limits"))?;
        self.repo.cache.check(Section("repo.cache"))?;
        self.repo.guard.check(Section("repo.guard"))?;
        self.repo.store.check(Section("repo.store"))?;
        self.gateway.limits.check(Section("gateway.limits"))?;
        Section("gateway").within("slot", self.gateway.slot, 0..=self.log.gateway_slots - 1).map_err(|invalid| {
            InvalidSetting {
                allowed: format!("below log.gateway_slots, which is {}", self.log.gateway_slots),
                ..invalid
            }
        })?;
        // The inner time limit is shorter than the outer one.
        let request = ("repo.limits.request_timeout_ms", self.repo.limits.request_timeout_ms);
        let read = ("repo.guard.read_timeout_ms", self.repo.guard.read_timeout_ms);
        let write = ("repo.guard.write_timeout_ms", self.repo.guard.write_timeout_ms);
        all.at_most(read, request)?;
        all.at_most(write, request)?;
        let server = &self.repo.store.server;
        all.at_most(("repo.store.server.read_timeout_ms", server.read_timeout_ms), read)?;
        all.at_most(("repo.store.server.call_timeout_ms", server.call_timeout_ms), write)?;
        all.at_most(("repo.cache.redis.call_timeout_ms", self.repo.cache.redis.call_timeout_ms), request)
    }

    fn check_log(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        section.within("chain_partitions", self.log.chain_partitions, 1..=PARTITIONS_MAX)?;
        section.within("gateway_slots", self.log.gateway_slots, 1..=PARTITIONS_MAX)?;
        self.log.kafka.check(Section("log.kafka"))
    }

    fn check_stages(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        let stages = &self.stages;
        section.within("dedupe_window_seconds", stages.dedupe_window_seconds, 1..=DEDUPE_WINDOW_MAX.as_secs())?;
        section.within("tasks_per_stage", stages.tasks_per_stage, 1..=TASKS_PER_STAGE_MAX)?;
        section.within("batch_records_max", stages.batch_records_max, 1..=100_000)?;
        let batch_bytes_max = match self.log.kind {
            LogKind::Embedded => EMBEDDED_BATCH_BYTES_MAX,
            LogKind::Kafka => 64 << 20,
        };
        section.within("batch_bytes_max", stages.batch_bytes_max, 64 << 10..=batch_bytes_max)
    }
}

impl KafkaSection {
    fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        let addresses = || self.brokers.split(',').map(str::trim);
        if addresses().any(|broker| broker.parse::<Address>().is_err()) {
            return Err(section.invalid("brokers", &self.brokers, "host:port, or several of them with commas between"));
        }
        for (key, prefix) in [("topic_prefix", &self.topic_prefix), ("group_prefix", &self.group_prefix)] {
            // What Kafka takes as the name of a topic.
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            if prefix.len() > 200 || !prefix.bytes().all(fits) {
                return Err(section.invalid(key, prefix, "up to 200 letters, digits, dots, underscores and hyphens"));
            }
        }
        section.within("replicas", self.replicas, 1..=9)?;
        section.within("connect_seconds", self.connect_seconds, 1..=3_600)
    }
}
