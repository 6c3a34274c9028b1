//! Arguments that several commands share: which installation they look at, and lengths of time.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::commands::error::CommandError;
use crate::config::{Config, LogKind};

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
    pub fn config(&self) -> Result<Config, CommandError> {
        let mut loaded = Config::load(self.config.as_deref())?;
        let kind = match (self.log, &self.brokers) {
            (Some(LogKind::Embedded), Some(_)) => return Err("--brokers belongs to --log kafka".into()),
            (None, Some(_)) => Some(LogKind::Kafka),
            (kind, _) => kind,
        };
        loaded.option(("--data", "data_dir"), self.data.clone(), |config| &mut config.data_dir);
        loaded.option(("--log", "log.kind"), kind, |config| &mut config.log.kind);
        loaded.option(("--brokers", "log.kafka.brokers"), self.brokers.clone(), |config| &mut config.log.kafka.brokers);
        Ok(loaded.checked()?)
    }
}

/// A pause between two looks: a [`length_of_time`], but not none.
pub fn pause(text: &str) -> Result<Duration, String> {
    length_of_time(text).and_then(|pause| if pause.is_zero() { Err("it is 1s at least".into()) } else { Ok(pause) })
}

/// `90s`, `30m`, `2h`, `7d`.
pub fn length_of_time(text: &str) -> Result<Duration, String> {
    let read = || {
        let unit_seconds = match text.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        number.checked_mul(unit_seconds).filter(|seconds| *seconds <= 100 * 365 * 86_400).map(Duration::from_secs)
    };
    read().ok_or_else(|| "it is a number and a unit, such as 90s, 30m, 2h or 7d".into())
}
