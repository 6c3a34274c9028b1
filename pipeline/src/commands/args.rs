//! Arguments that several commands share: which log they look at.

use std::path::PathBuf;

use clap::Args;

use crate::cli::LogKind;
use crate::commands::CommandError;
use crate::config::{self, Config};

/// Which installation.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// Configuration file (TOML) of the installation. Without it the defaults hold.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Directory of the log and the store [default: data].
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Which log [default: as configured, embedded].
    #[arg(long, value_enum, global = true)]
    pub log: Option<LogKind>,
    /// The brokers; makes it the log kafka.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub brokers: Option<String>,
}

impl LogArgs {
    /// The configuration, with what was said on the command line.
    ///
    /// # Errors
    /// [`config::ConfigError`], or arguments that contradict each other.
    pub fn config(&self) -> Result<Config, CommandError> {
        let mut config = Config::load(self.config.as_deref())?;
        config.data_dir = self.data.clone().unwrap_or(config.data_dir);
        config.log.kind = match (self.log, &self.brokers) {
            (Some(LogKind::Embedded), Some(_)) => return Err("--brokers belongs to --log kafka".into()),
            (Some(LogKind::Embedded), None) => config::LogKind::Embedded,
            (Some(LogKind::Kafka), _) | (None, Some(_)) => config::LogKind::Kafka,
            (None, None) => config.log.kind,
        };
        if let Some(brokers) = &self.brokers {
            config.log.kafka.brokers.clone_from(brokers);
        }
        config.check()?;
        Ok(config)
    }
}
