//! Records on their way from librdkafka to a member's owner.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::time::Instant;

use super::cluster::{Cluster, Topic, is_missing};
use super::error::Failure;
use super::membership::{Membership, Reading, Standing, read_ahead_records_max};
use super::rebalance::Rebalances;
use super::record::Arrivals;
use crate::log::{LogError, MemberSpec, PartitionBatch};

/// Bytes fetched ahead of the owner.
const READ_AHEAD_BYTES: usize = 8 << 20;

impl Membership {
    pub(super) fn is_settling(&mut self) -> bool {
        let backlog = &self.backlog;
        let waits = |(until, started): &(Instant, Vec<u32>)| {
            Instant::now() < *until && started.iter().any(|&partition| !backlog.has(partition))
        };
        if !self.settling.as_ref().is_some_and(waits) {
            self.settling = None;
        }
        self.settling.is_some()
    }

    /// Takes in what librdkafka has, up to the read-ahead.
    pub(super) fn poll(&mut self) {
        self.consumer.context().known.remind(self.consumer.client(), &self.cluster.config.brokers);
        let room = read_ahead_records_max(&self.spec).saturating_sub(self.backlog.records());
        let mut arrivals = Arrivals::default();
        // What is no record answers with nothing, just as an empty queue does.
        let mut nothing = 0;
        while nothing < 2 && arrivals.len() < room && arrivals.bytes() < READ_AHEAD_BYTES {
            match self.consumer.poll(Duration::ZERO) {
                None => nothing += 1,
                Some(Ok(message)) => {
                    nothing = 0;
                    arrivals.push(&message);
                }
                Some(Err(error)) => {
                    let event = trouble(&self.cluster, &self.topic, &self.spec, &self.consumer, &self.owned, error);
                    if let Some(error) = event {
                        if matches!(error, LogError::Fenced { .. }) {
                            self.standing = Standing::Fenced;
                        }
                        self.pending.push_back(Err(error));
                    }
                }
            }
        }
        let owned = &self.owned;
        let wanted = |partition: u32, offset: u64| matches!(owned.get(&partition), Some(Reading::Running(from)) if offset >= *from);
        self.backlog.extend(arrivals, wanted);
    }

    /// Moves positions past the marks that end transactions, where nothing else is before them.
    pub(super) fn pass_marks(&self, batches: &mut [PartitionBatch]) {
        let Ok(reached) = self.consumer.position() else { return };
        for element in reached.elements() {
            let partition = element.partition().cast_unsigned();
            let batch = batches.iter_mut().find(|batch| batch.partition == partition);
            if let (Offset::Offset(offset), Some(batch), false) = (element.offset(), batch, self.backlog.has(partition))
            {
                batch.next_offset = batch.next_offset.max(offset.cast_unsigned());
            }
        }
    }
}

/// What the owner must know of an error that came instead of a record.
fn trouble(
    cluster: &Cluster,
    topic: &Topic,
    spec: &MemberSpec,
    consumer: &BaseConsumer<Rebalances>,
    owned: &BTreeMap<u32, Reading>,
    error: KafkaError,
) -> Option<LogError> {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    let failure = Failure::from(error).rooted(consumer.client());
    match failure.code {
        _ if fatal || failure.code == Code::FencedInstanceId => {
            Some(cluster.speaker("reading").member_error(spec, failure))
        }
        code if is_missing(code) => Some(LogError::NoSuchTopic { topic: topic.spec.name.to_owned() }),
        Code::AutoOffsetReset => out_of_range(cluster, topic, consumer, owned),
        // The client recovers by itself when the broker is back, and a rebalance follows a missed poll.
        _ => match cluster.speaker("reading").error(failure) {
            refused @ LogError::Refused { .. } => Some(refused),
            _ => None,
        },
    }
}

/// Which partition's records were dropped before they were read.
fn out_of_range(
    cluster: &Cluster,
    topic: &Topic,
    consumer: &BaseConsumer<Rebalances>,
    owned: &BTreeMap<u32, Reading>,
) -> Option<LogError> {
    let reached = consumer.position().ok()?;
    for (&partition, reading) in owned {
        let Reading::Running(from) = reading else { continue };
        let offset = match reached.find_partition(&topic.name, partition.cast_signed()).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => offset.cast_unsigned().max(*from),
            _ => *from,
        };
        match cluster.bounds(topic, partition) {
            Ok(bounds) if offset < bounds.start || offset > bounds.end => {
                let (topic, start, end) = (topic.spec.name.to_owned(), bounds.start, bounds.end);
                return Some(LogError::OffsetOutOfRange { topic, partition, offset, start, end });
            }
            Ok(_) => {}
            Err(e) => return Some(e),
        }
    }
    None
}
