//! Opens the log that is configured, and closes it.

use std::sync::Arc;
use std::time::Duration;

use topics::catalogue::dedupe_memory;
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Log, LogError};

use crate::absent::Absent;
use crate::config::{Config, LogKind};
use crate::store;

/// A log that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log says why.
    #[error(transparent)]
    Log(LogError),
    /// Nobody runs a broker there yet.
    #[error("{0}; deployment/scripts/start-infra.sh starts one on this machine")]
    NoBroker(LogError),
    /// There is no log.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// This binary was built without it.
    #[cfg(not(feature = "kafka"))]
    #[error("log.kind is kafka, but this gochat was built without it: build it with --features kafka")]
    NotBuiltIn,
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoBroker { .. } => Self::NoBroker(error),
            other => Self::Log(other),
        }
    }
}

/// The configured log as operators know it: its directory, or the brokers.
pub fn name(config: &Config) -> String {
    match config.log.kind {
        LogKind::Embedded => config.data_dir.join("log").display().to_string(),
        LogKind::Kafka => format!("Kafka at {}", config.log.kafka.brokers),
    }
}

/// How long a tool waits for brokers: a person is waiting for it.
#[cfg(feature = "kafka")]
const ATTACH_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// An open log.
pub enum OpenLog {
    /// On the local disk, in this process alone.
    Embedded(Arc<EmbeddedLog>),
    /// On a cluster, shared with other processes.
    #[cfg(feature = "kafka")]
    Kafka(Arc<topics::kafka::KafkaLog>),
}

impl OpenLog {
    /// Opens what `config` says. On Kafka this waits for a broker, for `connect_seconds` at most.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        match config.log.kind {
            LogKind::Embedded => {
                let embedded = EmbeddedConfig {
                    dedupe_window: config.resend_window(),
                    ..EmbeddedConfig::new(config.data_dir.join("log"), config.layout())
                };
                Ok(Self::Embedded(EmbeddedLog::open(embedded, clock)?))
            }
            LogKind::Kafka => Self::connect(config).await,
        }
    }

    /// Opens an existing log for a tool that reads, also while a process writes the embedded log. Creates nothing, and
    /// waits for brokers no longer than [`ATTACH_MAX`].
    pub async fn attach(config: &Config) -> Result<Self, OpenError> {
        match config.log.kind {
            LogKind::Embedded => {
                let dir = config.data_dir.join("log");
                if !EmbeddedLog::is_in(&dir) {
                    let what = if store::is_there(config) { "log" } else { "log and no store" };
                    return Err(Absent { what, dir: config.data_dir.clone() }.into());
                }
                Ok(Self::Embedded(EmbeddedLog::open_read_only(dir)?))
            }
            LogKind::Kafka => Self::attach_to_kafka(config).await,
        }
    }

    /// The same for a tool that writes too; the embedded log then belongs to this process alone.
    ///
    /// # Errors
    /// [`OpenError`]; [`LogError::InUse`] while a process runs on an embedded log.
    pub async fn attach_for_writing(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        match config.log.kind {
            LogKind::Embedded => Self::open(config, clock).await,
            LogKind::Kafka => Self::attach_to_kafka(config).await,
        }
    }

    #[cfg(feature = "kafka")]
    async fn connect(config: &Config) -> Result<Self, OpenError> {
        tracing::info!(brokers = config.log.kafka.brokers, "connecting to kafka");
        Ok(Self::Kafka(topics::kafka::KafkaLog::connect(kafka_config(config)).await?))
    }

    #[cfg(feature = "kafka")]
    async fn attach_to_kafka(config: &Config) -> Result<Self, OpenError> {
        let mut kafka = kafka_config(config);
        kafka.timeouts.connect = kafka.timeouts.connect.min(ATTACH_MAX);
        Ok(Self::Kafka(topics::kafka::KafkaLog::attach(kafka).await?))
    }

    #[cfg(not(feature = "kafka"))]
    #[allow(clippy::unused_async, reason = "the same signature with and without the feature")]
    async fn attach_to_kafka(_config: &Config) -> Result<Self, OpenError> {
        Err(OpenError::NotBuiltIn)
    }

    #[cfg(not(feature = "kafka"))]
    #[allow(clippy::unused_async, reason = "the same signature with and without the feature")]
    async fn connect(_config: &Config) -> Result<Self, OpenError> {
        Err(OpenError::NotBuiltIn)
    }

    /// How long dedupe remembers a message: by the window that the log was made for, which clients are told. A log that is
    /// only read, and older than that record, goes by the configuration.
    pub fn dedupe_memory(&self, config: &Config) -> Duration {
        dedupe_memory(match self {
            Self::Embedded(log) => log.dedupe_window().unwrap_or(config.resend_window()),
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => log.dedupe_window(),
        })
    }

    pub fn log(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => log.clone(),
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => log.clone(),
        }
    }

    /// Writes what is queued and closes it.
    pub async fn close(self) {
        match self {
            Self::Embedded(log) => log.close().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => drop(log),
        }
    }
}

#[cfg(feature = "kafka")]
fn kafka_config(config: &Config) -> topics::kafka::KafkaConfig {
    let kafka = &config.log.kafka;
    let connect = Duration::from_secs(kafka.connect_seconds);
    topics::kafka::KafkaConfig {
        dedupe_window: config.resend_window(),
        topic_prefix: kafka.topic_prefix.clone(),
        group_prefix: kafka.group_prefix.clone(),
        replicas: kafka.replicas,
        timeouts: topics::kafka::Timeouts { connect, ..topics::kafka::Timeouts::default() },
        ..topics::kafka::KafkaConfig::new(&kafka.brokers, config.layout())
    }
}
