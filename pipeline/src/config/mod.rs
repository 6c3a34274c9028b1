//! Configuration: plain structs with defaults, read once from a file and the environment.
//!
//! Weakest first: the defaults here, the file, the environment (`GOCHAT__SECTION__KEY`), the command
//! line ([`load`]). A key that is not known is an error that names it ([`layers`]), as is a value that
//! can't be used ([`check`]).

mod address;
mod check;
mod error;
mod layers;
pub mod load;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use gateway::GatewayConfig;
use serde::{Deserialize, Serialize};
use stages::repo::RepoConfig;
use stages::repo::cache::CacheConfig;
use stages::repo::guarded::GuardedStoreConfig;
use topics::catalogue::{DEDUPE_WINDOW_DEFAULT, Layout};

pub use self::address::{Address, InvalidAddress};
pub use self::error::{ConfigError, Origin};
pub use self::store::StoreSection;
use crate::disk::Reserve;
use crate::runner::RunnerConfig;
use crate::topology::Fuse;

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
    /// MiB that stay free on the disk of the log and the store, where these are files. With less the process is not
    /// ready, and messages are refused with Busy.
    pub disk_reserve_mib: u64,
    /// The same as a part of the disk, in percent. Whichever is less counts.
    pub disk_reserve_percent: u16,
    /// MiB of memory that the process may take: queues and caches are lowered to their parts of it. With more it is not
    /// ready, and messages and new sockets are refused with Busy.
    pub memory_mib_max: u64,
    /// The same as a part of the machine's memory, or of its cgroup's, in percent. Whichever is less counts.
    pub memory_percent_max: u16,
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
    /// For how long a repeat is recognised, in seconds: clients are told. Fixed once the log is made.
    pub dedupe_window_seconds: u64,
    /// dedupe and id-assign in one task: one hop less.
    pub fuse_dedupe_and_id_assign: bool,
    /// persist and fan-out in one task: one hop less, and nothing in `persisted-messages`.
    pub fuse_persist_and_fan_out: bool,
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
    /// Where it listens.
    pub listen: Address,
    /// Where processes without it find it. Without: where it listens.
    pub address: Option<Address>,
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
    pub listen: Address,
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
    /// Where metrics can be scraped, and health asked for: not for clients. Without: nowhere.
    pub metrics_listen: Option<Address>,
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
            disk_reserve_mib: 1_024,
            disk_reserve_percent: 5,
            memory_mib_max: 1 << 20,
            memory_percent_max: 75,
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

impl StagesConfig {
    /// Which stages share a task.
    pub fn fuse(&self) -> Fuse {
        Fuse {
            dedupe_and_id_assign: self.fuse_dedupe_and_id_assign,
            persist_and_fan_out: self.fuse_persist_and_fan_out,
        }
    }
}

impl Default for StagesConfig {
    fn default() -> Self {
        let runner = RunnerConfig::default();
        Self {
            dedupe_window_seconds: DEDUPE_WINDOW_DEFAULT.as_secs(),
            fuse_dedupe_and_id_assign: true,
            fuse_persist_and_fan_out: false,
            tasks_per_stage: 2,
            batch_records_max: runner.batch_records_max,
            batch_bytes_max: runner.batch_bytes_max,
        }
    }
}

impl Default for RepoSection {
    fn default() -> Self {
        Self {
            listen: loopback(9090),
            address: None,
            store: StoreSection::default(),
            limits: RepoConfig::default(),
            cache: CacheConfig::default(),
            guard: GuardedStoreConfig::default(),
        }
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self { listen: loopback(8080), slot: 0, limits: GatewayConfig::default() }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto, metrics_listen: None }
    }
}

fn loopback(port: u16) -> Address {
    std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()
}

/// Tasks of one stage in a process: each task of id-assign has an instance id of its own.
const TASKS_PER_STAGE_MAX: u16 = 16;

impl Config {
    /// The first of the instance ids that tasks of this process make message ids with.
    pub fn first_instance_id(&self) -> u16 {
        self.instance * TASKS_PER_STAGE_MAX
    }

    /// How many partitions the topics have.
    pub fn layout(&self) -> Layout {
        Layout { chain_partitions: self.log.chain_partitions, gateway_slots: self.log.gateway_slots }
    }

    /// How long after its first attempt a resend is recognised: what clients are told.
    pub fn resend_window(&self) -> Duration {
        Duration::from_secs(self.stages.dedupe_window_seconds)
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

    /// What stays free on the disk.
    pub fn disk_reserve(&self) -> Reserve {
        Reserve { mib: self.disk_reserve_mib, percent: self.disk_reserve_percent }
    }

    /// The longest that one step of a stop may take: closing sockets, taking in what they said, and ending the
    /// repo's calls come one after another.
    pub fn grace_of_a_step(&self) -> Duration {
        self.grace() / 3
    }

    /// Where this process finds the repo of another process.
    pub fn repo_address(&self) -> &Address {
        self.repo.address.as_ref().unwrap_or(&self.repo.listen)
    }
}
