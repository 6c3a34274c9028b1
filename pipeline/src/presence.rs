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

/// Changes queued for a gateway; one that falls further behind reads the whole table again.
pub const CHANGES_MAX: usize = 4_096;

/// Reads presence from its start until `shutdown`. Tells `caught_up` once the table holds everything that was on the
/// topic at the start, and sends each change of the table to `changes`.
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
            // Without a receiver the process is stopping.
            let _ = caught_up.send(());
        }
        let batch = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            batch = reader.try_next() => batch?,
        };
        let Some(batch) = batch else { return Ok(()) };
        // An earlier run has set aside what was there at the start.
        let known = ends.iter().find(|(partition, _)| *partition == batch.partition).map_or(0, |(_, end)| *end);
        let mut dead = apply(&presence, &changes, &batch);
        dead.retain(|(offset, _)| *offset >= known);
        let dead = dead.into_iter().map(|(_, letter)| letter).collect();
        dead_letter::append(&*log, dead).await;
    }
}

/// Applies a batch; returns dead letters for bytes that are no record, with their offsets.
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
                // Without a gateway in this process there is no receiver.
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
