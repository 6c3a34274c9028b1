//! One task: a stage at work as one member of its group.

use stages::stage::Stage;
use tokio_util::sync::CancellationToken;
use topics::log::{Event, LogError, Member, MemberSpec};
use topics::queue_metrics::Bound;

use super::context::TaskContext;
use super::error::RunError;
use super::wiring::WiringOf;

pub(super) struct Task<'a, S: Stage> {
    pub(super) stage: S,
    pub(super) wiring: &'a WiringOf<S>,
    pub(super) context: &'a TaskContext,
    /// Those that are worked on, as a metric.
    pub(super) batches: &'a Bound,
    pub(super) shutdown: &'a CancellationToken,
}

impl<S: Stage> Task<'_, S> {
    /// Joins the group and works until `shutdown`.
    pub(super) async fn run(mut self) -> Result<(), RunError> {
        let TaskContext { log, config, instance, .. } = self.context;
        let spec = MemberSpec {
            group: self.wiring.group.to_owned(),
            topic: self.wiring.input.spec,
            instance: instance.clone(),
            transactional: self.wiring.is_transactional(),
            batch_records_max: config.batch_records_max,
            batch_bytes_max: config.batch_bytes_max,
            poll_interval_max: config.poll_interval_max,
        };
        let mut member = log.join(spec).await.map_err(log_error::<S>)?;
        let outcome = self.serve(member.as_mut()).await;
        if let Err(e) = member.leave().await {
            tracing::debug!(stage = S::NAME, error = %e, "could not leave the group; its partitions move on after a timeout");
        }
        outcome
    }

    /// Not a stream of batches beside a committer: one member gives the events and takes the commits, partitions come
    /// and go between batches, and a commit that failed makes the next batch the same one again.
    async fn serve(&mut self, member: &mut dyn Member) -> Result<(), RunError> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                event = member.next() => event.map_err(log_error::<S>)?,
            };
            match event {
                Event::Assigned(partitions) => {
                    for assigned in partitions {
                        self.take_over(member, assigned).await?;
                    }
                }
                Event::Revoked(partitions) | Event::Lost(partitions) => {
                    for partition in partitions {
                        tracing::debug!(stage = S::NAME, partition, "partition given up");
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
}

pub(super) fn log_error<S: Stage>(source: LogError) -> RunError {
    RunError::Log { stage: S::NAME, source }
}
