//! Taking over a partition: restore the stage's state, then start at the committed position.
//!
//! The order matters where a log has transactions: the position was fetched before the changelog's
//! end is looked up, so a former owner's last commit is either in both or in neither. The changelog
//! tells the position as well: a cluster may lose or set back a group's position by itself, and what
//! was read twice would be made twice.

use std::time::Duration;

use stages::stage::Stage;
use topics::catalogue::TopicSpec;
use topics::headers::InputPosition;
use topics::log::{Assigned, LogError, Member, StartAt};

use super::wiring::Changelog;
use super::{RunError, Task};

/// How long one read of a changelog waits for transactions that are still open. It is then tried
/// again; the log ends open transactions by itself.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// What a changelog told.
#[derive(Debug, Clone, Copy, Default)]
struct Restored {
    changes: usize,
    /// How far the input was read, if any record says so.
    position: Option<u64>,
}

impl<S: Stage> Task<'_, S> {
    pub(super) async fn take_over(&mut self, member: &mut dyn Member, assigned: Assigned) -> Result<(), RunError> {
        let (stage, partition) = (self.stage.name(), assigned.partition);
        let input = self.wiring.input;
        let bounds = self.around.log.bounds(input, partition).await.map_err(|e| self.log_error(e))?;
        let mut start = assigned.committed.unwrap_or(bounds.start);
        self.stage.assigned(partition);
        let wiring = self.wiring;
        let restored = match &wiring.changelog {
            Changelog::None => Restored::default(),
            Changelog::Topics { topics, .. } => {
                let mut all = Restored::default();
                for changelog in topics {
                    let one = self.replay(changelog.topic, partition, StartAt::Earliest, &changelog.decode).await?;
                    let position = all.position.max(one.position);
                    all = Restored { changes: all.changes + one.changes, position };
                }
                start = self.start_of(member, assigned, all).await?.unwrap_or(start);
                all
            }
            Changelog::InputAhead(decode) => self.replay(input, partition, StartAt::Offset(start), decode).await?,
        };
        member.start(partition, start).await.map_err(|e| self.log_error(e))?;
        tracing::debug!(stage, partition, offset = start, changes = restored.changes, "partition taken over");
        Ok(())
    }

    /// Where to go on with this state; `None`: at the start, there is none.
    async fn start_of(
        &mut self,
        member: &mut dyn Member,
        Assigned { partition, committed }: Assigned,
        restored: Restored,
    ) -> Result<Option<u64>, RunError> {
        let (stage, group, topic) = (self.stage.name(), self.wiring.group, self.wiring.input.name);
        match restored.position {
            Some(position) if committed < Some(position) => {
                tracing::warn!(
                    stage,
                    group,
                    topic,
                    partition,
                    committed,
                    position,
                    "the group's position lies behind the stage's state: it goes on where its changelog ends"
                );
                metrics::counter!("gochat_positions_set_back_total", "stage" => stage).increment(1);
                Ok(Some(position))
            }
            None if committed.is_none() && restored.changes > 0 => {
                // The position is lost, or this task was slow and the state is that of a new owner.
                match member.committed(partition).await.map_err(|e| self.log_error(e))? {
                    None => Err(RunError::PositionLost { stage, group, topic, partition }),
                    Some(_) => {
                        let (group, instance) = (group.to_owned(), self.around.instance.clone());
                        Err(self.log_error(LogError::Fenced { group, instance }))
                    }
                }
            }
            Some(_) | None => Ok(committed),
        }
    }

    /// Gives the stage what a topic's partition holds from `from` up to its present end.
    async fn replay(
        &mut self,
        topic: &'static TopicSpec,
        partition: u32,
        from: StartAt,
        decode: impl Fn(&[u8]) -> Result<S::Change, schemas::avro::AvroError>,
    ) -> Result<Restored, RunError> {
        let log = self.around.log.clone();
        let end = log.bounds(topic, partition).await.map_err(|e| self.log_error(e))?.end;
        let mut reader = log.read(topic, &[(partition, from)]).await.map_err(|e| self.log_error(e))?;
        let mut restored = Restored::default();
        while reader.position(partition).is_some_and(|position| position < end) && !self.shutdown.is_cancelled() {
            let Some(batch) = reader.next_within(RESTORE_WAIT).await.map_err(|e| self.log_error(e))? else {
                continue;
            };
            let mut changes = Vec::with_capacity(batch.records.len());
            for record in batch.records.iter().filter(|record| record.offset < end) {
                // A changelog may be shared with a stage of another input, of which it then tells nothing.
                let position = InputPosition::of(&record.headers).filter(|at| at.topic == self.wiring.input.name);
                restored.position = restored.position.max(position.map(|at| at.offset));
                match decode(&record.value) {
                    Ok(change) => changes.push(change),
                    // In its own input a stage meets foreign bytes again, and then sets them aside.
                    Err(_) if topic == self.wiring.input => {}
                    Err(source) => {
                        let (stage, topic, offset) = (self.stage.name(), topic.name, record.offset);
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
