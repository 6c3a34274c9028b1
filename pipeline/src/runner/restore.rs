//! Taking over a partition: restore the stage's state, then start at the committed position.
//!
//! The order matters where a log has transactions: the position was fetched before the changelog's
//! end is looked up, so a former owner's last commit is either in both or in neither.

use std::time::Duration;

use stages::stage::Stage;
use topics::catalogue::TopicSpec;
use topics::log::{Assigned, LogError, Member, StartAt};

use super::wiring::Changelog;
use super::{RunError, Task};

/// How long one read of a changelog waits for transactions that are still open. It is then tried
/// again; the log ends open transactions by itself.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

impl<S: Stage> Task<'_, S> {
    pub(super) async fn take_over(&mut self, member: &mut dyn Member, assigned: Assigned) -> Result<(), RunError> {
        let (stage, partition) = (self.stage.name(), assigned.partition);
        let input = self.wiring.input;
        let bounds = self.around.log.bounds(input, partition).await.map_err(|e| self.log_error(e))?;
        let start = assigned.committed.unwrap_or(bounds.start);
        self.stage.assigned(partition);
        let wiring = self.wiring;
        let restored = match &wiring.changelog {
            Changelog::None => 0,
            Changelog::Topics { topics, .. } => {
                let mut restored = 0;
                for changelog in topics {
                    restored += self.replay(changelog.topic, partition, StartAt::Earliest, &changelog.decode).await?;
                }
                if restored > 0 && assigned.committed.is_none() {
                    return Err(self.without_position(member, partition).await?);
                }
                restored
            }
            Changelog::InputAhead(decode) => self.replay(input, partition, StartAt::Offset(start), decode).await?,
        };
        member.start(partition, start).await.map_err(|e| self.log_error(e))?;
        tracing::debug!(stage, partition, offset = start, changes = restored, "partition taken over");
        Ok(())
    }

    /// State without a position: the position is lost, or this task was slow and the state is that of a
    /// new owner.
    async fn without_position(&mut self, member: &mut dyn Member, partition: u32) -> Result<RunError, RunError> {
        let (stage, group, topic) = (self.stage.name(), self.wiring.group, self.wiring.input.name);
        Ok(match member.committed(partition).await.map_err(|e| self.log_error(e))? {
            None => RunError::PositionLost { stage, group, topic, partition },
            Some(_) => {
                let (group, instance) = (group.to_owned(), self.around.instance.clone());
                self.log_error(LogError::Fenced { group, instance })
            }
        })
    }

    /// Gives the stage what a topic's partition holds from `from` up to its present end.
    async fn replay(
        &mut self,
        topic: &'static TopicSpec,
        partition: u32,
        from: StartAt,
        decode: impl Fn(&[u8]) -> Result<S::Change, schemas::avro::AvroError>,
    ) -> Result<usize, RunError> {
        let log = self.around.log.clone();
        let end = log.bounds(topic, partition).await.map_err(|e| self.log_error(e))?.end;
        let mut reader = log.read(topic, &[(partition, from)]).await.map_err(|e| self.log_error(e))?;
        let mut restored = 0;
        while reader.position(partition).is_some_and(|position| position < end) && !self.shutdown.is_cancelled() {
            let Some(batch) = reader.next(RESTORE_WAIT).await.map_err(|e| self.log_error(e))? else {
                continue;
            };
            let mut changes = Vec::with_capacity(batch.records.len());
            for record in batch.records.iter().filter(|record| record.offset < end) {
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
            restored += changes.len();
            self.stage.restore(partition, changes);
        }
        Ok(restored)
    }
}
