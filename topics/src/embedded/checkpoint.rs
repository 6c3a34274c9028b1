//! Keeps the write-ahead log small without keeping commits waiting.
//!
//! A thread copies the write-ahead log into the database. The log is only truncated once all of it is copied, and the
//! writer keeps adding to it; so when little is left, the writer copies the rest itself, between two groups. If the
//! thread falls far behind, the writer waits for it, and callers wait for the writer.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock::locked;
use super::queue::Queue;
use super::storage;
use super::work::Work;
use crate::log::LogError;

/// How often the thread goes over the log before the writer takes what is left: the second time it
/// copies what was written during the first.
const PASSES: u32 = 2;

/// The writer waits for the thread once the log has so many times the target.
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
    /// Bytes since the thread last took it up.
    new_bytes: usize,
    /// Bytes since the writer last copied the rest.
    unfinished_bytes: usize,
    stage: Stage,
    closed: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The thread is at it.
    Passing,
}

impl Checkpoints {
    /// Checkpoints after about so many bytes.
    pub fn new(wal_bytes_target: usize) -> Self {
        Self { wal_bytes_target, state: Mutex::default(), due: Condvar::new(), passed: Condvar::new() }
    }

    /// The writer added so many bytes to the log.
    pub fn wrote(&self, bytes: usize) {
        let mut state = locked(&self.state);
        state.new_bytes += bytes;
        state.unfinished_bytes += bytes;
        if state.new_bytes > self.wal_bytes_target {
            self.due.notify_one();
        }
    }

    /// The writer copied the rest of the log.
    pub fn finished(&self) {
        locked(&self.state).unfinished_bytes = 0;
    }

    /// Keeps the writer waiting while the thread is far behind.
    pub fn keep_pace(&self) {
        let behind = |state: &mut State| {
            let at_work = state.stage == Stage::Passing || state.new_bytes > self.wal_bytes_target;
            !state.closed && at_work && state.unfinished_bytes > self.wal_bytes_target * BEHIND_TARGETS_MAX
        };
        let state = locked(&self.state);
        let (_state, _timeout) =
            self.passed.wait_timeout_while(state, WAIT_MAX, behind).unwrap_or_else(PoisonError::into_inner);
    }

    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.due.notify_one();
        self.passed.notify_all();
    }

    /// Waits until the log is large. `false`: closed.
    fn becomes_due(&self) -> bool {
        let small = |state: &mut State| !state.closed && state.new_bytes <= self.wal_bytes_target;
        let mut state = self.due.wait_while(locked(&self.state), small).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        state.new_bytes = 0;
        state.stage = Stage::Passing;
        true
    }

    fn has_passed(&self) {
        locked(&self.state).stage = Stage::Idle;
        self.passed.notify_all();
    }
}

/// The body of the thread.
///
/// # Errors
/// When the file can't be opened.
pub(super) fn prepare(
    dir: &Path,
    checkpoints: Arc<Checkpoints>,
    queue: Arc<Queue<Work>>,
) -> Result<impl FnOnce() + Send + use<>, LogError> {
    let db = storage::open_writer(dir, None)?;
    Ok(move || {
        while checkpoints.becomes_due() {
            for _ in 0..PASSES {
                if let Err(e) = storage::checkpoint(&db) {
                    tracing::warn!(error = %e, "the write-ahead log could not be copied; it grows until that succeeds");
                }
            }
            let pushed = queue.push_own(Work::FinishCheckpoint);
            checkpoints.has_passed();
            if pushed.is_err() {
                return;
            }
        }
    })
}
