//! The baseline of the chain: the same records copied through the same number of hops, with the same
//! commits, by loops that look at nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use topics::catalogue::TopicSpec;
use topics::log::{Commit, Event, Log, LogError, MemberSpec, Outgoing};

/// Copies everything from one topic to another, partition by partition, until told to stop.
///
/// # Errors
/// When the log fails.
pub async fn copy(
    log: Arc<dyn Log>,
    from: &'static TopicSpec,
    to: &'static TopicSpec,
    batch_records_max: usize,
    stop: CancellationToken,
) -> Result<(), LogError> {
    let spec = MemberSpec {
        group: format!("copy-{}", from.name),
        topic: from,
        instance: "copy".into(),
        transactional: true,
        batch_records_max,
        batch_bytes_max: 4 << 20,
        poll_interval_max: Duration::from_secs(60),
    };
    let partitions = log.layout().partitions(to);
    let mut member = log.join(spec).await?;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return member.leave().await,
            event = member.next() => event?,
        };
        match event {
            Event::Assigned(assigned) => {
                for partition in assigned {
                    member.start(partition.partition, partition.committed.unwrap_or(0)).await?;
                }
            }
            Event::Revoked(_) | Event::Lost(_) => {}
            Event::Batch(batch) => {
                let positions = batch.iter().map(|part| (part.partition, part.next_offset)).collect();
                let outputs = batch.into_iter().flat_map(|part| {
                    let partition = Some(part.partition % partitions);
                    part.records.into_iter().map(move |record| Outgoing {
                        topic: to,
                        partition,
                        key: record.key,
                        value: record.value,
                        headers: record.headers,
                    })
                });
                member.commit(Commit { outputs: outputs.collect(), positions }).await?;
            }
        }
    }
}
