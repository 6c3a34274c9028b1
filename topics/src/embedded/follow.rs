//! Reading a log that another process writes, for tools.
//!
//! SQLite lets processes read beside the writer, but tells nobody that there is something new; so a
//! thread looks at the file's change counter (`PRAGMA data_version`) every [`LOOK_INTERVAL`]. It
//! reads no data while it stands still.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::lock::locked;
use super::open;
use super::shared::Shared;
use crate::log::LogError;

/// How often the file is looked at: how late a tool sees what was written.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Follows what the writing process does.
#[derive(Debug, Default)]
pub(super) struct Follower {
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Follower {
    /// The body of the thread.
    pub fn run(&self, db: &Connection, shared: &Shared) {
        let mut seen = None;
        while self.pause() {
            let look = || -> Result<i64, LogError> {
                let version = version(db)?;
                if seen != Some(version) {
                    refresh(db, shared)?;
                }
                Ok(version)
            };
            match look() {
                Ok(version) => seen = Some(version),
                Err(e) => tracing::warn!(error = %e, "the log could not be looked at; it is tried again"),
            }
        }
    }

    pub fn close(&self) {
        *locked(&self.closed) = true;
        self.closing.notify_all();
    }

    fn pause(&self) -> bool {
        let closed = locked(&self.closed);
        let waited = self.closing.wait_timeout_while(closed, LOOK_INTERVAL, |closed| !*closed);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn version(db: &Connection) -> Result<i64, LogError> {
    let version = db.query_row("PRAGMA data_version", [], |row| row.get(0));
    version.map_err(|e| super::failure::of_reading("looking for changes", e))
}

fn refresh(db: &Connection, shared: &Shared) -> Result<(), LogError> {
    let now = open::load(db, 0)?;
    *locked(&shared.groups) = now.groups;
    for new in now.topics.partitions() {
        shared.topics.partition(new.topic, new.index)?.refresh(new);
    }
    shared.topics.all().for_each(|topic| topic.changed.notify_waiters());
    Ok(())
}
