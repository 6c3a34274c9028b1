//! What the database says, as errors of the log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::rows::FetchError;
use crate::log::LogError;

/// Why a transaction was not written: the answer to everyone who waits for it.
#[derive(Debug, Clone)]
pub(super) enum WriteFailure {
    /// No space is left. A later transaction may succeed.
    Full,
    /// The disk or the database failed: what was written before may not be what is on the disk, so
    /// nothing is written any more until the log is opened again.
    Broken(Arc<rusqlite::Error>),
}

impl From<rusqlite::Error> for WriteFailure {
    fn from(e: rusqlite::Error) -> Self {
        if is_full(&e) { Self::Full } else { Self::Broken(Arc::new(e)) }
    }
}

impl WriteFailure {
    /// As an error of the log in this directory.
    pub fn to_error(&self, dir: &Path) -> LogError {
        match self {
            Self::Full => LogError::DiskFull { path: dir.display().to_string() },
            Self::Broken(e) => LogError::Storage { doing: "writing a transaction", source: Box::new(Arc::clone(e)) },
        }
    }
}

/// A full disk shows in two ways: at a write, and at growing the index of the write-ahead log.
fn is_full(e: &rusqlite::Error) -> bool {
    e.sqlite_error()
        .is_some_and(|e| e.code == ErrorCode::DiskFull || e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// The same error; one of a damaged file says which, and what to do.
pub(super) fn naming_damage(path: &Path, e: LogError) -> LogError {
    let damage = match &e {
        LogError::Storage { source, .. } => source.downcast_ref::<rusqlite::Error>().filter(|e| is_damage(e)),
        _ => None,
    };
    match damage {
        Some(damage) => LogError::Unusable {
            path: path.display().to_string(),
            reason: format!("it is damaged ({damage}): restore the data directory from a backup"),
        },
        None => e,
    }
}

fn is_damage(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

pub(super) fn of_reading(doing: &'static str, e: rusqlite::Error) -> LogError {
    LogError::Storage { doing, source: Box::new(e) }
}

/// A failed read of batches.
pub(super) fn of_fetching(topic: &str, partition: u32, e: FetchError) -> LogError {
    match e {
        FetchError::Damaged { base } => LogError::Corrupt {
            topic: topic.into(),
            partition,
            offset: base,
            reason: "its checksum does not match".into(),
        },
        FetchError::Missing { from, until } => LogError::Corrupt {
            topic: topic.into(),
            partition,
            offset: from,
            reason: format!("the records up to offset {until} are missing"),
        },
        FetchError::Storage(e) => of_reading("reading batches", e),
    }
}

/// A file that can't be opened.
pub(super) fn of_opening(path: &Path, e: rusqlite::Error) -> LogError {
    let shown = path.display().to_string();
    match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            LogError::Unusable { path: shown, reason: "it is not a database: choose another data directory".into() }
        }
        Some(ErrorCode::DatabaseCorrupt) => LogError::Unusable {
            path: shown,
            reason: format!("it is damaged ({e}): restore the data directory from a backup"),
        },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => LogError::Unusable {
            path: shown,
            reason: format!("it can't be opened ({e}): check that it exists and that this user may write it"),
        },
        Some(ErrorCode::DiskFull) => LogError::DiskFull { path: shown },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::InUse { path: shown },
        _ => LogError::Storage { doing: "opening the log", source: Box::new(e) },
    }
}

/// A directory that can't be used.
pub(super) fn of_directory(dir: &Path, e: &io::Error) -> LogError {
    LogError::Unusable {
        path: dir.display().to_string(),
        reason: format!("{e}: check that it is a directory and that this user may write it, or choose another"),
    }
}
