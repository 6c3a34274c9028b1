//! Follows the presence topic into the table that fan-out, large-group and the repo share.

use std::sync::Arc;
use std::time::Duration;

use schemas::avro::{PresenceEvent, Record};
use stages::presence::SharedPresence;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use topics::catalogue::PRESENCE;
use topics::log::{Log, LogError, StartAt};

/// How long one read waits for news.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Reads presence from its start and goes on until `shutdown`; tells `caught_up` once the table
/// holds all that was known when it began.
///
/// # Errors
/// When the log can't be read.
pub async fn follow(
    log: Arc<dyn Log>,
    presence: SharedPresence,
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
            batch = reader.next(READ_WAIT) => batch?,
        };
        let Some(batch) = batch else { continue };
        let mut table = presence.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for record in &batch.records {
            match PresenceEvent::decode(&record.value) {
                Ok(event) => table.apply(&event),
                Err(e) => tracing::warn!(offset = record.offset, error = %e, "not a presence record: passed over"),
            }
        }
    }
}
