//! Keeps the write-ahead logs small without keeping commits waiting.
//!
//! A thread of its own copies what the logs hold into the databases. Since the writer adds to a log
//! meanwhile, the log would never be empty and so never start anew; so once little is left, the
//! writer copies that little itself between two groups. Should the thread fall far behind, the writer
//! waits for it, and callers for the writer.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock::locked;
use super::queue::Queue;
use super::storage;
use super::work::Work;
use crate::catalogue::Durability;
use crate::log::LogError;

/// How often the thread goes over a log before the writer takes what is left: the second time it
/// copies what was written during the first.
const PASSES: u32 = 2;

/// The writer waits for the thread once a log has so many times the target.
const BEHIND_TARGETS_MAX: usize = 4;
/// After this it continues all the same: a thread that can't copy, because the disk is full, must not
/// keep the writer from freeing space.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How much was written since the last checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wal_bytes_target: usize,
    state: Mutex<State>,
    due: Condvar,
    passed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    synced: Growth,
    unsynced: Growth,
    closed: bool,
}

/// The write-ahead log of one file.
#[derive(Debug, Default)]
struct Growth {
    /// Bytes since the thread last took it up.
    new_bytes: usize,
    /// Bytes since the writer last copied the rest.
    unfinished_bytes: usize,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The thread is at it.
    Passing,
}

impl State {
    fn of(&mut self, durability: Durability) -> &mut Growth {
        match durability {
            Durability::Synced => &mut self.synced,
            Durability::Unsynced => &mut self.unsynced,
        }
    }
}

impl Checkpoints {
    /// Checkpoints after about so many bytes.
    pub fn new(wal_bytes_target: usize) -> Self {
        Self { wal_bytes_target, state: Mutex::default(), due: Condvar::new(), passed: Condvar::new() }
    }

    /// The writer added so many bytes to a log.
    pub fn wrote(&self, durability: Durability, bytes: usize) {
        let mut state = locked(&self.state);
        let growth = state.of(durability);
        growth.new_bytes += bytes;
        growth.unfinished_bytes += bytes;
        if growth.new_bytes > self.wal_bytes_target {
            self.due.notify_one();
        }
    }

    /// The writer copied the rest of a log.
    pub fn finished(&self, durability: Durability) {
        locked(&self.state).of(durability).unfinished_bytes = 0;
    }

    /// Keeps the writer waiting while the thread is far behind.
    pub fn keep_pace(&self) {
        for durability in [Durability::Synced, Durability::Unsynced] {
            let behind = |state: &mut State| {
                let closed = state.closed;
                let growth = state.of(durability);
                let at_work = growth.stage == Stage::Passing || growth.new_bytes > self.wal_bytes_target;
                !closed && at_work && growth.unfinished_bytes > self.wal_bytes_target * BEHIND_TARGETS_MAX
            };
            let state = locked(&self.state);
            let (_state, _timeout) =
                self.passed.wait_timeout_while(state, WAIT_MAX, behind).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.due.notify_one();
        self.passed.notify_all();
    }

    /// Waits until a log is large. `None`: closed.
    fn next(&self) -> Option<Durability> {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return None;
            }
            for durability in [Durability::Synced, Durability::Unsynced] {
                let growth = state.of(durability);
                if growth.new_bytes > self.wal_bytes_target {
                    growth.new_bytes = 0;
                    growth.stage = Stage::Passing;
                    return Some(durability);
                }
            }
            state = self.due.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn has_passed(&self, durability: Durability) {
        locked(&self.state).of(durability).stage = Stage::Idle;
        self.passed.notify_all();
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
            let pushed = queue.push_own(Work::FinishCheckpoint(durability));
            checkpoints.has_passed(durability);
            if pushed.is_err() {
                return;
            }
        }
    })
}
