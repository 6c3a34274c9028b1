//! What a task of a stage works with, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;
use topics::log::Log;

/// Bounds of one task.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Most records in a batch.
    pub batch_records_max: usize,
    /// Most bytes in a batch.
    pub batch_bytes_max: usize,
    /// A task that works longer than this on one batch loses its partitions.
    pub poll_interval_max: Duration,
    /// First wait after a transient failure; doubled each time.
    pub retry_wait_min: Duration,
    /// Longest wait between tries.
    pub retry_wait_max: Duration,
    /// Draws the fraction of each wait that is slept, so that tasks that failed together do not retry together.
    pub retry_spread: fn() -> f64,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            batch_records_max: 8_192,
            batch_bytes_max: 4 << 20,
            poll_interval_max: Duration::from_secs(300),
            retry_wait_min: Duration::from_millis(50),
            retry_wait_max: Duration::from_secs(5),
            retry_spread: half_to_all,
        }
    }
}

/// What a task works with.
#[derive(Clone)]
pub struct TaskContext {
    /// Where records come from and go to.
    pub log: Arc<dyn Log>,
    /// The time that stages are given.
    pub clock: Clock,
    pub config: RunnerConfig,
    /// Name of the task among all tasks of its group: stable through restarts, unique at any time.
    pub instance: String,
}

/// Waits a share of `wait`, and doubles it. Ends at once when `shutdown` is cancelled.
pub(super) async fn back_off(wait: &mut Duration, config: &RunnerConfig, shutdown: &CancellationToken) {
    let jittered = wait.mul_f64((config.retry_spread)());
    *wait = (*wait * 2).min(config.retry_wait_max);
    tokio::select! {
        () = tokio::time::sleep(jittered) => {}
        () = shutdown.cancelled() => {}
    }
}

#[allow(clippy::disallowed_methods, reason = "spreads retries; nothing that is stored depends on it")]
fn half_to_all() -> f64 {
    rand::rng().random_range(0.5..1.0)
}
