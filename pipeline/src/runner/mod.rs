//! The runner: takes batches from the log, has a stage work on them, and commits what it made
//! together with the input positions. Retries, dead letters, restoring, spans and counters are
//! here, once; nothing in this module is specific to a stage or to a log.

pub mod instance;
mod restore;
mod wiring;
mod work;

use std::sync::Arc;
use std::time::Duration;

use schemas::causes::causes;
use stages::stage::{Stage, StageError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;
use topics::log::{Class, Event, Log, LogError, Member, MemberSpec};
use topics::queue_metrics::Bound;

pub use wiring::{Changelog, ChangelogTopic, Emit, Wiring, along};

/// Bounds of one task.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Most records in a batch.
    pub batch_records_max: usize,
    /// Most bytes in a batch.
    pub batch_bytes_max: usize,
    /// A task that works longer than this on one batch loses its partitions.
    pub poll_interval_max: Duration,
    /// First wait after a passing failure; doubled each time.
    pub retry_wait_min: Duration,
    /// Longest wait between tries.
    pub retry_wait_max: Duration,
    /// The share of a wait that is really waited, drawn for each: so that tasks that failed together do
    /// not try again together.
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
            retry_spread: work::half_to_all,
        }
    }
}

/// What a task works with.
#[derive(Clone)]
pub struct Surroundings {
    /// Where records come from and go to.
    pub log: Arc<dyn Log>,
    /// The time that stages are given.
    pub clock: Clock,
    pub config: RunnerConfig,
    /// Name of the task among all tasks of its group: stable through restarts, unique at any time.
    pub instance: String,
}

/// Why a task ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log failed.
    #[error("stage {stage} stops: the log failed")]
    Log {
        stage: &'static str,
        #[source]
        source: LogError,
    },
    /// Another process has the instance of this one.
    #[error(
        "another process ({by}) runs as instance {instance}, so this one stops: give each process an --instance of its own"
    )]
    InstanceTaken {
        /// The instance that both were given.
        instance: u16,
        by: String,
    },
    /// The stage can't go on.
    #[error("stage {stage} stops")]
    Stage {
        stage: &'static str,
        #[source]
        source: StageError,
    },
    /// What the stage made does not fit its schema.
    #[error("stage {stage} stops: it made a record that can't be written")]
    Encode {
        stage: &'static str,
        #[source]
        source: schemas::avro::AvroError,
    },
    /// The group's position is gone although the stage has state.
    #[error(
        "stage {stage} stops: group {group} has no position in {topic} partition {partition}, but its changelog is not \
         empty. Starting over would give old messages new identities: set the group's position by hand (on Kafka with \
         deployment/scripts/kafka-tool.sh consumer-groups --reset-offsets); or, where the \
         stages were fused until now, keep them fused"
    )]
    PositionLost {
        stage: &'static str,
        group: &'static str,
        /// The input topic.
        topic: &'static str,
        partition: u32,
    },
    /// The changelog holds bytes that are no record.
    #[error("stage {stage} stops: {topic} partition {partition} offset {offset} is no record of its changelog")]
    Changelog {
        stage: &'static str,
        topic: &'static str,
        partition: u32,
        offset: u64,
        #[source]
        source: schemas::avro::AvroError,
    },
}

/// Runs a stage until `shutdown`, always finishing the batch in hand.
///
/// A task that was fenced, or lost its place otherwise, starts anew with a fresh stage.
///
/// # Errors
/// [`RunError`] when a person has to look.
pub async fn run<S: Stage>(
    make_stage: impl Fn() -> S,
    wiring: &Wiring<S>,
    around: &Surroundings,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let mut wait = around.config.retry_wait_min;
    // One at a time for each task.
    let batches = Bound::new(format!("runner-{}-batches", wiring.group), 1);
    while !shutdown.is_cancelled() {
        let mut task = Task { stage: make_stage(), wiring, around, batches: &batches, shutdown };
        let (name, began) = (task.stage.name(), Instant::now());
        match task.run().await {
            Ok(()) => return Ok(()),
            Err(RunError::Log { source, .. }) if source.class() != Class::Fatal => {
                // It was well meanwhile: this trouble is not the last one going on.
                if began.elapsed() > around.config.retry_wait_max {
                    wait = around.config.retry_wait_min;
                }
                let error = causes(&source);
                match source.class() {
                    // Whoever watches the log tells that it is away.
                    Class::Retry => {
                        tracing::debug!(stage = name, instance = around.instance, error, "task starts anew")
                    }
                    Class::Abort | Class::Rebuild | Class::Fatal => {
                        tracing::warn!(stage = name, instance = around.instance, error, "task starts anew");
                    }
                }
                metrics::counter!("gochat_stage_rebuilds_total", "stage" => name).increment(1);
                work::back_off(&mut wait, &around.config, shutdown).await;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// One stage at work as one member of its group.
struct Task<'a, S: Stage> {
    stage: S,
    wiring: &'a Wiring<S>,
    around: &'a Surroundings,
    /// Those that are worked on, as a metric.
    batches: &'a Bound,
    shutdown: &'a CancellationToken,
}

impl<S: Stage> Task<'_, S> {
    async fn run(&mut self) -> Result<(), RunError> {
        let spec = MemberSpec {
            group: self.wiring.group.to_owned(),
            topic: self.wiring.input,
            instance: self.around.instance.clone(),
            transactional: self.wiring.transactional,
            batch_records_max: self.around.config.batch_records_max,
            batch_bytes_max: self.around.config.batch_bytes_max,
            poll_interval_max: self.around.config.poll_interval_max,
        };
        let mut member = self.around.log.join(spec).await.map_err(|e| self.log_error(e))?;
        let outcome = self.serve(member.as_mut()).await;
        if let Err(e) = member.leave().await {
            tracing::debug!(stage = self.stage.name(), error = %e, "could not leave the group; its partitions move on after a timeout");
        }
        outcome
    }

    async fn serve(&mut self, member: &mut dyn Member) -> Result<(), RunError> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                event = member.next() => event.map_err(|e| self.log_error(e))?,
            };
            match event {
                Event::Assigned(partitions) => {
                    for assigned in partitions {
                        self.take_over(member, assigned).await?;
                    }
                }
                Event::Revoked(partitions) | Event::Lost(partitions) => {
                    for partition in partitions {
                        tracing::debug!(stage = self.stage.name(), partition, "partition given up");
                        self.stage.revoked(partition);
                    }
                }
                Event::Batch(batch) => {
                    let _at_work = self.batches.entered(1);
                    self.work(member, &batch).await?;
                }
            }
        }
    }

    fn log_error(&self, source: LogError) -> RunError {
        RunError::Log { stage: self.stage.name(), source }
    }
}
