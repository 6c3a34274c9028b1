//! Taking over a partition: restore the stage's state, then start at the committed position.
//!
//! The order matters where a log has transactions: the committed position is fetched before the
//! changelog's end is looked up, so a former owner's last commit is in both or in neither. The
//! changelog records the position too: a cluster may lose a group's position or set it back, and
//! records that are read twice would be output twice.

use std::time::Duration;

use stages::stage::Stage;
use topics::catalogue::TopicSpec;
use topics::headers::InputPosition;
use topics::log::{Assigned, LogError, Member, StartAt};

use super::error::RunError;
use super::task::{Task, log_error};

/// How long one read of a changelog waits for transactions that are still open. It is then tried
/// again; the log ends open transactions by itself.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// What was read from a changelog.
#[derive(Debug, Clone, Copy, Default)]
struct Restored {
    changes: usize,
    /// How far the input was read, if any record says so.
    position: Option<u64>,
}

impl<S: Stage> Task<'_, S> {
    pub(super) async fn take_over(&mut self, member: &mut dyn Member, assigned: Assigned) -> Result<(), RunError> {
        let (partition, wiring) = (assigned.partition, self.wiring);
        let input = wiring.input.spec;
        let bounds = self.context.log.bounds(input, partition).await.map_err(log_error::<S>)?;
        self.stage.assigned(partition);
        let mut restored = Restored::default();
        for changelog in &wiring.changelog.topics {
            let one = self.replay(changelog.topic, partition, StartAt::Earliest, &changelog.decode).await?;
            restored.changes += one.changes;
            restored.position = restored.position.max(one.position);
        }
        let start = self.start_of(member, assigned, restored).await?.unwrap_or(bounds.start);
        if let Some(decode) = &wiring.changelog.ahead {
            restored.changes += self.replay(input, partition, StartAt::Offset(start), decode).await?.changes;
        }
        member.start(partition, start).await.map_err(log_error::<S>)?;
        tracing::debug!(stage = S::NAME, partition, offset = start, changes = restored.changes, "partition taken over");
        Ok(())
    }

    /// The position that this state belongs to; `None`: there is none, so start at the oldest record.
    async fn start_of(
        &mut self,
        member: &mut dyn Member,
        Assigned { partition, committed }: Assigned,
        restored: Restored,
    ) -> Result<Option<u64>, RunError> {
        let (stage, group, topic) = (S::NAME, self.wiring.group, self.wiring.input.spec.name);
        match restored.position {
            Some(position) if committed < Some(position) => {
                tracing::warn!(
                    stage,
                    group,
                    topic,
                    partition,
                    committed,
                    position,
                    "the group's position is older than the stage's state: continuing where the changelog ends"
                );
                metrics::counter!("gochat_positions_set_back_total", "stage" => stage).increment(1);
                Ok(Some(position))
            }
            None if committed.is_none() && restored.changes > 0 => {
                // The position is lost, or this task was slow and the state is that of a new owner.
                match member.committed(partition).await.map_err(log_error::<S>)? {
                    None => Err(RunError::PositionLost { stage, group, topic, partition }),
                    Some(_) => {
                        let (group, instance) = (group.to_owned(), self.context.instance.clone());
                        Err(log_error::<S>(LogError::Fenced { group, instance }))
                    }
                }
            }
            Some(_) | None => Ok(committed),
        }
    }

    /// Gives the stage what a partition holds in `[from, end)`, where `end` is its end when this begins.
    async fn replay(
        &mut self,
        topic: &'static TopicSpec,
        partition: u32,
        from: StartAt,
        decode: impl Fn(&[u8]) -> Result<S::Change, schemas::avro::AvroError>,
    ) -> Result<Restored, RunError> {
        let log = self.context.log.clone();
        let end = log.bounds(topic, partition).await.map_err(log_error::<S>)?.end;
        let mut reader = log.read(topic, &[(partition, from)]).await.map_err(log_error::<S>)?;
        let mut restored = Restored::default();
        while reader.position(partition).is_some_and(|position| position < end) && !self.shutdown.is_cancelled() {
            let Some(batch) = reader.next_within(RESTORE_WAIT).await.map_err(log_error::<S>)? else {
                continue;
            };
            let mut changes = Vec::with_capacity(batch.records.len());
            for record in batch.records.iter().filter(|record| record.offset < end) {
                // A changelog may be shared with a stage that reads another topic: its positions are not ours.
                let position = InputPosition::of(&record.headers).filter(|at| at.topic == self.wiring.input.spec.name);
                restored.position = restored.position.max(position.map(|at| at.offset));
                match decode(&record.value) {
                    Ok(change) => changes.push(change),
                    // The input is read again, and such bytes are set aside then.
                    Err(_) if topic == self.wiring.input.spec => {}
                    Err(source) => {
                        let (stage, topic, offset) = (S::NAME, topic.name, record.offset);
                        return Err(RunError::Changelog { stage, topic, partition, offset, source });
                    }
                }
            }
            restored.changes += changes.len();
            self.stage.restore(partition, changes);
        }
        Ok(restored)
    }
}
