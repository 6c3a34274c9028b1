//! What a process could not do.

use std::path::PathBuf;

use crate::listen::AddressError;
use crate::supervisor::{Ended, PartError};

/// Why a process does not start, or ends; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("the data directory {} can't be used: {source}. Make it writable for this user, or choose another with --data DIR", path.display())]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("{part} could not be started")]
    Start {
        part: &'static str,
        #[source]
        source: PartError,
    },
    #[error("stopping, since a part has ended")]
    Part(#[source] Ended),
    #[error(
        "{records} records wait in {topic} for tasks of {group} alone: start once with {setting}=false until they are \
         gone, then fuse the stages"
    )]
    Waiting { records: u64, topic: &'static str, group: &'static str, setting: String },
    #[error(
        "{second} runs in the tasks of {first}: give this process the role {first} too, or set {setting}=false in every \
         process"
    )]
    RunsWithFirst { first: &'static str, second: &'static str, setting: String },
}

pub(super) fn start_error<E: Into<PartError>>(part: &'static str) -> impl FnOnce(E) -> ProcessError {
    move |source| ProcessError::Start { part, source: source.into() }
}
