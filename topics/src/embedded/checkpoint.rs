//! Keeps the write-ahead logs small without keeping commits waiting.
//!
//! A thread of its own copies what the logs hold into the databases. Since the writer adds to a log
//! meanwhile, the log would never be empty and so never start anew; so once little is left, the
//! writer copies that little itself between two groups.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::queue::Queue;
use super::writer::Work;
use super::{locked, storage};
use crate::catalogue::Durability;
use crate::log::LogError;

/// How often the thread goes over a log before the writer takes what is left: the second time it
/// copies what was written during the first.
const PASSES: u32 = 2;

/// How much was written since the last checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wal_bytes_target: usize,
    state: Mutex<State>,
    due: Condvar,
}

#[derive(Debug, Default)]
struct State {
    synced_bytes: usize,
    unsynced_bytes: usize,
    closed: bool,
}

impl Checkpoints {
    /// Checkpoints after about so many bytes.
    pub fn new(wal_bytes_target: usize) -> Self {
        Self { wal_bytes_target, state: Mutex::default(), due: Condvar::new() }
    }

    /// The writer added so many bytes to a log.
    pub fn wrote(&self, durability: Durability, bytes: usize) {
        let mut state = locked(&self.state);
        let written = match durability {
            Durability::Synced => &mut state.synced_bytes,
            Durability::Unsynced => &mut state.unsynced_bytes,
        };
        *written += bytes;
        if *written > self.wal_bytes_target {
            self.due.notify_one();
        }
    }

    /// Ends the thread.
    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.due.notify_one();
    }

    /// Waits until a log is large. `None`: closed.
    fn next(&self) -> Option<Durability> {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if state.synced_bytes > self.wal_bytes_target {
                state.synced_bytes = 0;
                return Some(Durability::Synced);
            }
            if state.unsynced_bytes > self.wal_bytes_target {
                state.unsynced_bytes = 0;
                return Some(Durability::Unsynced);
            }
            state = self.due.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The body of the thread.
///
/// # Errors
/// When the files can't be opened.
pub(super) fn prepare(
    dir: &Path,
    checkpoints: Arc<Checkpoints>,
    queue: Arc<Queue<Work>>,
) -> Result<impl FnOnce() + Send + use<>, LogError> {
    let synced = storage::open_writer(dir, Durability::Synced, None)?;
    let unsynced = storage::open_writer(dir, Durability::Unsynced, None)?;
    Ok(move || {
        while let Some(durability) = checkpoints.next() {
            let db = match durability {
                Durability::Synced => &synced,
                Durability::Unsynced => &unsynced,
            };
            for _ in 0..PASSES {
                if let Err(e) = storage::checkpoint(db) {
                    tracing::warn!(error = %e, "the write-ahead log could not be copied; it grows until that succeeds");
                }
            }
            if queue.push_own(Work::FinishCheckpoint(durability)).is_err() {
                return;
            }
        }
    })
}
