//! Follows the presence topic into the table that fan-out, large-group, the repo and the gateway share.

use std::sync::{Arc, PoisonError};

use futures::TryStreamExt;
use gateway::PresenceChange;
use schemas::avro::{PresenceEvent, Record};
use schemas::causes::causes;
use stages::presence::{Change, SharedPresence};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use topics::catalogue::PRESENCE;
use topics::dead_letter::{self, Reason, dead_letter};
use topics::log::{Log, LogError, Outgoing, PartitionBatch, StartAt};

/// Changes that a gateway has not taken in yet; one that is further behind looks at all it wants to know.
pub const CHANGES_MAX: usize = 4_096;

/// Reads presence from its start and goes on until `shutdown`; tells `caught_up` once the table
/// holds all that was known when it began, and `changes` what becomes other in it.
///
/// # Errors
/// When the log can't be read.
pub async fn follow(
    log: Arc<dyn Log>,
    presence: SharedPresence,
    changes: broadcast::Sender<PresenceChange>,
    caught_up: oneshot::Sender<()>,
    shutdown: CancellationToken,
) -> Result<(), LogError> {
    let partitions = log.layout().partitions(&PRESENCE.spec);
    let mut ends = Vec::new();
    for partition in 0..partitions {
        ends.push((partition, log.bounds(&PRESENCE.spec, partition).await?.end));
    }
    let from: Vec<_> = (0..partitions).map(|partition| (partition, StartAt::Earliest)).collect();
    let mut reader = log.read(&PRESENCE.spec, &from).await?;
    let mut caught_up = Some(caught_up);
    loop {
        let reached = ends.iter().all(|&(partition, end)| reader.position(partition).is_none_or(|at| at >= end));
        if reached && let Some(caught_up) = caught_up.take() {
            // Nobody may wait for it any more: the process is stopping.
            let _ = caught_up.send(());
        }
        let batch = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            batch = reader.try_next() => batch?,
        };
        let Some(batch) = batch else { return Ok(()) };
        // What lay there at the start was met by an earlier run.
        let known = ends.iter().find(|(partition, _)| *partition == batch.partition).map_or(0, |(_, end)| *end);
        let mut dead = apply(&presence, &changes, &batch);
        dead.retain(|(offset, _)| *offset >= known);
        let dead = dead.into_iter().map(|(_, letter)| letter).collect();
        dead_letter::append(&*log, dead).await;
    }
}

/// Applies what a batch tells; returns the dead letters of what is no record, with their offsets.
fn apply(
    presence: &SharedPresence,
    changes: &broadcast::Sender<PresenceChange>,
    batch: &PartitionBatch,
) -> Vec<(u64, Outgoing)> {
    let mut table = presence.write().unwrap_or_else(PoisonError::into_inner);
    let mut dead = Vec::new();
    for record in &batch.records {
        match PresenceEvent::decode(&record.value) {
            Ok(event) => {
                let change = match table.apply(&event, record.time_ms) {
                    Change::Nothing => continue,
                    Change::User(user) => PresenceChange::User(user),
                    Change::Slots => PresenceChange::Slots,
                };
                // Without a gateway here nobody wants to know.
                let _ = changes.send(change);
            }
            Err(e) => {
                tracing::error!(
                    offset = record.offset,
                    error = causes(&e),
                    "not a presence record: set aside as a dead letter"
                );
                let reason = Reason { reader: "presence", error: &e };
                dead.push((record.offset, dead_letter(&PRESENCE.spec, batch.partition, record, reason)));
            }
        }
    }
    dead
}
