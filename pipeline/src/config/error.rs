//! Why a configuration can't be used: which file or variable, which key, what it is and what it may be.

use std::fmt;
use std::path::PathBuf;

use schemas::setting::InvalidSetting;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Variable(name) => write!(f, "from the variable {name}"),
            Self::Option(option) => write!(f, "from {option}"),
        }
    }
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no configuration file {}: leave --config out to run with the defaults", path.display())]
    Missing { path: PathBuf },
    #[error("the configuration file {} can't be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} line {line}{}: {reason}", path.display(), key.as_ref().map(|key| format!(", {key}")).unwrap_or_default())]
    Toml {
        path: PathBuf,
        /// The line of the error, from 1.
        line: usize,
        /// What is set in that line, if something is.
        key: Option<String>,
        reason: String,
    },
    #[error("{} sets {key}, which is no setting: the nearest one is {nearest}", path.display())]
    UnknownKey { path: PathBuf, key: String, nearest: String },
    #[error("the variable {name} is no setting: the nearest one is {nearest}")]
    UnknownVariable { name: String, nearest: String },
    /// A value is not of the kind that the setting has.
    #[error("{key} is {value} ({origin}): {reason}")]
    Form {
        key: String,
        /// The value as it was given, with passwords masked.
        value: String,
        origin: Origin,
        /// What it must be.
        reason: String,
    },
    #[error("{} is {} ({origin}); it must be {}", invalid.key, invalid.value, invalid.allowed)]
    InvalidSetting { invalid: InvalidSetting, origin: Origin },
}
