//! The runner: takes batches from the log, has a stage work on them, and commits what it made
//! together with the input positions. Retries, dead letters, restoring, spans and counters are
//! here, once; nothing in this module is specific to a stage or to a log.

mod context;
mod error;
pub mod instance;
mod restore;
mod task;
mod wiring;
mod work;

use schemas::causes::causes;
use stages::stage::Stage;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use topics::log::{Class, LogError};
use topics::queue_metrics::Bound;

pub use self::context::{RunnerConfig, TaskContext};
pub use self::error::RunError;
pub use self::wiring::{Changelog, Emit, InputTopic, Wiring, WiringOf, same_partition};

use self::context::back_off;
use self::task::Task;

/// Runs a stage until `shutdown`, always finishing the batch in hand.
///
/// A task that was fenced, or whose client broke, restarts with a new stage.
///
/// # Errors
/// [`RunError`] when a person has to look.
pub async fn run<S: Stage>(
    make_stage: impl Fn() -> S,
    wiring: &WiringOf<S>,
    context: &TaskContext,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let config = &context.config;
    let mut wait = config.retry_wait_min;
    // One at a time for each task.
    let batches = Bound::new(format!("runner-{}-batches", wiring.group), 1);
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let task = Task { stage: make_stage(), wiring, context, batches: &batches, shutdown };
        let source = match task.run().await {
            Ok(()) => return Ok(()),
            Err(RunError::Log { source, .. }) if source.class() != Class::Fatal => source,
            Err(e) => return Err(e),
        };
        // The task ran well in between: this is a new failure, so the backoff starts over.
        if began.elapsed() > config.retry_wait_max {
            wait = config.retry_wait_min;
        }
        let (instance, error) = (&context.instance, causes(&source));
        // The health watch logs that the log is down, and of two processes of one instance the one that ends says so.
        if source.class() == Class::Retry || matches!(source, LogError::Replaced { .. }) {
            tracing::debug!(stage = S::NAME, instance, error, "task restarts");
        } else {
            tracing::warn!(stage = S::NAME, instance, error, "task restarts");
        }
        metrics::counter!("gochat_stage_rebuilds_total", "stage" => S::NAME).increment(1);
        back_off(&mut wait, config, shutdown).await;
    }
    Ok(())
}
