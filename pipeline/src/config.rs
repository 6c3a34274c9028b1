//! Configuration: plain structs with defaults, read once from a file and the environment.
//!
//! Weakest first: the defaults here, the file, the environment (`GOCHAT__SECTION__KEY`), the command
//! line. A key that is not known is an error that names it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config as Layers, Environment, File, FileFormat};
use gateway::GatewayConfig;
use schemas::snowflake::INSTANCES;
use serde::{Deserialize, Serialize};
use stages::repo::RepoConfig;
use stages::repo::cache::CacheConfig;
use stages::repo::guarded::GuardedStoreConfig;
use topics::catalogue::{DEDUPE_WINDOW_MAX, Layout};

use crate::runner::RunnerConfig;
use crate::store::StoreSection;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the log, the store and the keys are kept.
    pub data_dir: PathBuf,
    /// Number of this process among those that share a log, below 64: names its stage tasks, and keeps
    /// the ids that it makes apart from those of others.
    pub instance: u16,
    /// How long a stop may take before what is left is abandoned, in seconds. Nothing is lost by
    /// that: it is worked again at the next start.
    pub grace_seconds: u64,
    /// The log.
    pub log: LogConfig,
    /// The stages.
    pub stages: StagesConfig,
    /// Where the repo answers gRPC.
    pub repo: RepoSection,
    /// Where the gateway answers HTTP and WebSocket.
    pub gateway: GatewaySection,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

/// The log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `embedded`, on the local disk, or `kafka`.
    pub kind: LogKind,
    /// Partitions of every chain topic. Fixed once the log is made.
    pub chain_partitions: u32,
    /// How many gateways there can be. Fixed once the log is made.
    pub gateway_slots: u32,
    /// Where Kafka is, for the kind `kafka`.
    pub kafka: KafkaSection,
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// On the local disk, inside one process.
    Embedded,
    /// On a Kafka cluster, shared by the processes of an installation.
    Kafka,
}

/// A Kafka cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSection {
    /// Some of the brokers, `host:port,host:port`.
    pub brokers: String,
    /// Begins the name of each topic, where installations share a cluster.
    pub topic_prefix: String,
    /// Begins the name of each consumer group and transactional id, for the same reason.
    pub group_prefix: String,
    /// On how many brokers each partition is kept; with 3 or more, all but one must acknowledge.
    pub replicas: u16,
    /// How long a start waits for a broker, in seconds.
    pub connect_seconds: u64,
}

/// The stages and their tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StagesConfig {
    /// For how long a repeat is recognised, in seconds.
    pub dedupe_window_seconds: u64,
    /// dedupe and id-assign in one task: one hop less.
    pub fuse_dedupe_and_id_assign: bool,
    /// Tasks of each stage in this process; each gets a share of the partitions. On SQLite persist has one.
    pub tasks_per_stage: u16,
    /// Most records in a batch.
    pub batch_records_max: usize,
    /// Most bytes in a batch.
    pub batch_bytes_max: usize,
}

/// The repo.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepoSection {
    /// Where it listens, and where this process looks for it.
    pub listen: SocketAddr,
    /// Where users, groups and messages are kept.
    pub store: StoreSection,
    /// Its limits.
    pub limits: RepoConfig,
    /// What is remembered, and where.
    pub cache: CacheConfig,
    /// How long the store may take.
    pub guard: GuardedStoreConfig,
}

/// The gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its partition of the deliveries, below `log.gateway_slots`.
    pub slot: u32,
    /// Its limits.
    pub limits: GatewayConfig,
}

/// Logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, as in `RUST_LOG`: a level, or levels by module.
    pub filter: String,
    /// `auto` (pretty on a terminal, JSON elsewhere), `json` or `pretty`.
    pub format: LogFormat,
    /// Where metrics can be scraped as well; a gateway shows them at its own `/metrics` anyway.
    pub metrics_listen: Option<SocketAddr>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            instance: 0,
            grace_seconds: 20,
            log: LogConfig::default(),
            stages: StagesConfig::default(),
            repo: RepoSection::default(),
            gateway: GatewaySection::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { kind: LogKind::Embedded, chain_partitions: 8, gateway_slots: 16, kafka: KafkaSection::default() }
    }
}

impl Default for KafkaSection {
    fn default() -> Self {
        let (topic_prefix, group_prefix) = (String::new(), String::new());
        Self { brokers: "127.0.0.1:9092".into(), topic_prefix, group_prefix, replicas: 1, connect_seconds: 60 }
    }
}

impl Default for StagesConfig {
    fn default() -> Self {
        let runner = RunnerConfig::default();
        Self {
            dedupe_window_seconds: 600,
            fuse_dedupe_and_id_assign: true,
            tasks_per_stage: 2,
            batch_records_max: runner.batch_records_max,
            batch_bytes_max: runner.batch_bytes_max,
        }
    }
}

impl Default for RepoSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            store: StoreSection::default(),
            limits: RepoConfig::default(),
            cache: CacheConfig::default(),
            guard: GuardedStoreConfig::default(),
        }
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), slot: 0, limits: GatewayConfig::default() }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto, metrics_listen: None }
    }
}

/// Tasks of one stage in a process: each task of id-assign has an instance id of its own.
const TASKS_PER_STAGE_MAX: u16 = 16;

/// Configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("there is no configuration file {path}: leave --config out to run with the defaults")]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// A key is unknown or a value has the wrong form.
    #[error("the configuration can't be used")]
    Invalid {
        /// Which, and where it comes from.
        #[source]
        source: config::ConfigError,
    },
    /// A value is out of its range.
    #[error("{key} is {value}; it must be {range}")]
    OutOfRange {
        /// The key, with its sections.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: String,
    },
}

/// Prefix and separator of environment variables: `GOCHAT__GATEWAY__LISTEN`.
const ENVIRONMENT_PREFIX: &str = "GOCHAT";
const ENVIRONMENT_SEPARATOR: &str = "__";

impl Config {
    /// Reads the defaults, the file if one is given, and the environment.
    ///
    /// # Errors
    /// [`ConfigError`]; out-of-range values are found by [`check`](Self::check).
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator(ENVIRONMENT_SEPARATOR)
            .separator(ENVIRONMENT_SEPARATOR)
            .try_parsing(true);
        let mut layers = Layers::builder();
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::Missing { path: path.into() });
            }
            layers = layers.add_source(File::from(path).format(FileFormat::Toml));
        }
        let layers = layers.add_source(environment).build();
        layers.and_then(Layers::try_deserialize).map_err(|source| ConfigError::Invalid { source })
    }

    /// Judges the values.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for the first that is not in its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        const PARTITIONS_MAX: u32 = 1_024;
        in_range("log.chain_partitions", self.log.chain_partitions, 1, PARTITIONS_MAX)?;
        in_range("log.gateway_slots", self.log.gateway_slots, 1, PARTITIONS_MAX)?;
        in_range("gateway.slot", self.gateway.slot, 0, self.log.gateway_slots - 1)?;
        in_range("stages.dedupe_window_seconds", self.stages.dedupe_window_seconds, 1, DEDUPE_WINDOW_MAX.as_secs())?;
        in_range("stages.tasks_per_stage", self.stages.tasks_per_stage, 1, TASKS_PER_STAGE_MAX)?;
        in_range("instance", self.instance, 0, INSTANCES / TASKS_PER_STAGE_MAX - 1)?;
        in_range("log.kafka.replicas", self.log.kafka.replicas, 1, 9)?;
        in_range("log.kafka.connect_seconds", self.log.kafka.connect_seconds, 1, 3_600)?;
        in_range("stages.batch_records_max", self.stages.batch_records_max, 1, 100_000)?;
        in_range("stages.batch_bytes_max", self.stages.batch_bytes_max, 64 << 10, 64 << 20)?;
        let CacheConfig { local, redis, .. } = &self.repo.cache;
        in_range("repo.cache.local.users_max", local.users_max, 0, 100_000_000)?;
        in_range("repo.cache.local.messages_mib_max", local.messages_mib_max, 0, 1 << 20)?;
        in_range("repo.cache.local.members_mib_max", local.members_mib_max, 0, 1 << 20)?;
        in_range("repo.cache.redis.call_timeout_ms", redis.call_timeout_ms, 1, 10_000)?;
        in_range("repo.cache.redis.connect_timeout_ms", redis.connect_timeout_ms, 1, 60_000)?;
        in_range("repo.guard.read_timeout_ms", self.repo.guard.read_timeout_ms, 1, 600_000)?;
        in_range("repo.guard.write_timeout_ms", self.repo.guard.write_timeout_ms, 1, 600_000)?;
        in_range("grace_seconds", self.grace_seconds, 1, 600)?;
        self.repo.store.check()
    }

    /// The first of the instance ids that tasks of this process make message ids with.
    pub fn first_instance_id(&self) -> u16 {
        self.instance * TASKS_PER_STAGE_MAX
    }

    /// How many partitions the topics have.
    pub fn layout(&self) -> Layout {
        Layout { chain_partitions: self.log.chain_partitions, gateway_slots: self.log.gateway_slots }
    }

    /// The bounds of each task.
    pub fn runner(&self) -> RunnerConfig {
        let StagesConfig { batch_records_max, batch_bytes_max, .. } = self.stages;
        RunnerConfig { batch_records_max, batch_bytes_max, ..RunnerConfig::default() }
    }

    /// The longest a stop may take.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

/// Refuses a value that is not in its range.
pub(crate) fn in_range<T: PartialOrd + ToString + Copy>(
    key: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let range = format!("from {} to {}", min.to_string(), max.to_string());
    Err(ConfigError::OutOfRange { key, value: value.to_string(), range })
}
