//! Reading partitions outside of groups.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::blocking::{blocking, drop_in_background};
use super::cluster::{Cluster, Topic, is_missing};
use super::events::Events;
use super::record::{Arrivals, Backlog};
use crate::log::{LogError, PartitionBatch, Reader, StartAt};

/// Records in one batch.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Bytes in one batch; one record may exceed it alone.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How often the client is polled while nothing comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct KafkaReader {
    cluster: Arc<Cluster>,
    topic: Arc<Topic>,
    /// `None` only while it is being dropped.
    consumer: Option<BaseConsumer<Events>>,
    /// Notified when the consumer's queue is no longer empty.
    arrival: Arc<Notify>,
    backlog: Backlog,
    /// Where each partition was read to, by batches that were handed out or skipped.
    positions: HashMap<u32, u64>,
    /// Partitions whose position moved without a record, and whose batch without records is still to come.
    skipped: BTreeSet<u32>,
}

/// Looks up where to start, and starts. Waits for brokers: not for a thread of the async runtime.
pub(super) fn open(cluster: Arc<Cluster>, topic: Arc<Topic>, from: &[(u32, StartAt)]) -> Result<Reader, LogError> {
    let speaker = cluster.speaker("starting a reader");
    let consumer = cluster.config.reader().create_with_context(Events::default());
    let mut consumer: BaseConsumer<Events> = consumer.map_err(|e| speaker.settings_error(e))?;
    let arrival = Arc::new(Notify::new());
    let told = Arc::clone(&arrival);
    consumer.set_nonempty_callback(move || told.notify_one());
    let mut positions = HashMap::new();
    let mut assignment = TopicPartitionList::with_capacity(from.len());
    for &(partition, at) in from {
        let offset = start(&cluster, &topic, partition, at)?;
        let number = topic.checked(partition)?;
        assignment
            .add_partition_offset(&topic.name, number, Offset::Offset(offset.cast_signed()))
            .map_err(|e| speaker.error(e))?;
        positions.insert(partition, offset);
    }
    consumer.assign(&assignment).map_err(|e| speaker.error(e))?;
    let starts = positions.clone();
    let (consumer, backlog, skipped) = (Some(consumer), Backlog::default(), BTreeSet::new());
    let reader = KafkaReader { cluster, topic, consumer, arrival, backlog, positions, skipped };
    let batches = stream::unfold(reader, |mut reader| async move { Some((reader.next().await, reader)) });
    Ok(Reader::new(starts, batches))
}

impl KafkaReader {
    async fn next(&mut self) -> Result<PartitionBatch, LogError> {
        loop {
            if let Some(batch) = self.hand_out() {
                return Ok(batch);
            }
            match self.drain() {
                Ok(()) => {}
                Err(Trouble::OutOfRange) => return Err(self.out_of_range().await),
                Err(Trouble::Missing) => {
                    return Err(LogError::NoSuchTopic { topic: self.topic.spec.name.to_owned() });
                }
                Err(Trouble::Other(e)) => return Err(e),
            }
            if self.backlog.is_empty() && self.skipped.is_empty() {
                let _nothing_came = timeout(LOOK_EVERY, self.arrival.notified()).await;
            }
        }
    }

    /// Takes in what has come.
    fn drain(&mut self) -> Result<(), Trouble> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer.context().known.remind(consumer.client(), &self.cluster.config.brokers);
        let mut arrivals = Arrivals::default();
        // What is no record answers with nothing, just as an empty queue does.
        let mut nothing = 0;
        while nothing < 2 && arrivals.len() < BATCH_RECORDS_MAX && arrivals.bytes() < BATCH_BYTES_MAX {
            match consumer.poll(Duration::ZERO) {
                None => nothing += 1,
                Some(Ok(message)) => {
                    nothing = 0;
                    arrivals.push(&message);
                }
                Some(Err(KafkaError::MessageConsumption(Code::AutoOffsetReset))) => return Err(Trouble::OutOfRange),
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(is_missing) => return Err(Trouble::Missing),
                Some(Err(e)) => match self.cluster.speaker("reading").error(e) {
                    // The client recovers by itself when the broker is back.
                    LogError::Unavailable { .. } => nothing = 0,
                    lasting => return Err(Trouble::Other(lasting)),
                },
            }
        }
        self.backlog.extend(arrivals, |_, _| true);
        self.skip();
        Ok(())
    }

    /// Moves the positions of partitions of which nothing is left to hand out past what is never
    /// handed out: aborted records, and the marks that end transactions.
    fn skip(&mut self) {
        let Some(Ok(reached)) = self.consumer.as_ref().map(|consumer| consumer.position()) else { return };
        for element in reached.elements() {
            let partition = element.partition().cast_unsigned();
            if let (Offset::Offset(offset), false) = (element.offset(), self.backlog.has(partition))
                && let Some(position) = self.positions.get_mut(&partition)
                && *position < offset.cast_unsigned()
            {
                *position = offset.cast_unsigned();
                self.skipped.insert(partition);
            }
        }
    }

    fn hand_out(&mut self) -> Option<PartitionBatch> {
        if self.backlog.is_empty() {
            let partition = self.skipped.pop_first()?;
            return Some(PartitionBatch { partition, records: Vec::new(), next_offset: self.positions[&partition] });
        }
        let mut batch = self.backlog.take_one(BATCH_RECORDS_MAX, BATCH_BYTES_MAX)?;
        self.positions.insert(batch.partition, batch.next_offset);
        self.skip();
        self.skipped.remove(&batch.partition);
        batch.next_offset = self.positions[&batch.partition];
        Some(batch)
    }

    /// Which partition's records were dropped before they were read.
    async fn out_of_range(&self) -> LogError {
        for (&partition, &offset) in &self.positions {
            let (cluster, topic) = (Arc::clone(&self.cluster), Arc::clone(&self.topic));
            let looked_up = blocking(move || cluster.bounds(&topic, partition)).await;
            match looked_up {
                Ok(bounds) if offset < bounds.start || offset > bounds.end => {
                    let (topic, start, end) = (self.topic.spec.name.to_owned(), bounds.start, bounds.end);
                    return LogError::OffsetOutOfRange { topic, partition, offset, start, end };
                }
                Ok(_) => {}
                Err(e) => return e,
            }
        }
        self.cluster.speaker("reading").error(KafkaError::MessageConsumption(Code::AutoOffsetReset))
    }
}

/// Why nothing more can be read.
enum Trouble {
    OutOfRange,
    Missing,
    Other(LogError),
}

fn start(cluster: &Cluster, topic: &Topic, partition: u32, at: StartAt) -> Result<u64, LogError> {
    let bounds = cluster.bounds(topic, partition)?;
    match at {
        StartAt::Earliest => Ok(bounds.start),
        StartAt::Latest => Ok(bounds.end),
        StartAt::Time(time_ms) => cluster.offset_at(topic, partition, time_ms),
        StartAt::Offset(offset) if offset > bounds.end => {
            let (topic, start, end) = (topic.spec.name.to_owned(), bounds.start, bounds.end);
            Err(LogError::OffsetOutOfRange { topic, partition, offset, start, end })
        }
        StartAt::Offset(offset) => Ok(offset.max(bounds.start)),
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // Closing waits for the client's threads.
        if let Some(consumer) = self.consumer.take() {
            drop_in_background(consumer);
        }
    }
}
