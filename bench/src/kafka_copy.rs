//! The baseline of the chain on Kafka: librdkafka as bare as it gets, copying records through the same
//! number of hops with the same commits.
//!
//! No log, no codec, no runtime: each task is one loop on a thread of its own that polls, produces what
//! it polled, and commits. It is tuned as the chain is; what the settings are for is said there
//! (`topics/src/kafka/config.rs`).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use topics::catalogue::TopicSpec;

/// How long an idle loop waits for records before it looks whether to stop.
const IDLE_WAIT: Duration = Duration::from_millis(20);
/// Between two looks whether everything is delivered: rdkafka's own flush takes 100 ms for each.
const DELIVERY_LOOK: Duration = Duration::from_millis(1);
/// How long a call of a broker may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// One task of a hop.
#[derive(Debug, Clone)]
pub struct CopyTask {
    /// Some of the brokers.
    pub brokers: String,
    /// Begins the names of topics, groups and transactional ids.
    pub prefix: String,
    /// From this topic.
    pub from: &'static TopicSpec,
    /// These partitions of it.
    pub partitions: Vec<u32>,
    /// To this topic; records keep their partition, modulo the topic's number.
    pub to: &'static TopicSpec,
    /// How many partitions that has.
    pub to_partitions: u32,
    /// Whether outputs and positions are one transaction. If not, positions follow the outputs.
    pub transactional: bool,
    /// Most records between two commits.
    pub batch_records_max: usize,
}

/// What a copy could not do.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Kafka refused something.
    #[error("the bare copy from {topic} failed while {doing}")]
    Kafka {
        /// The topic that is read.
        topic: &'static str,
        /// What was being done.
        doing: &'static str,
        #[source]
        source: KafkaError,
    },
    /// A record was not delivered in time.
    #[error("the bare copy from {topic} failed: a record was not delivered")]
    Undelivered {
        /// The topic that is read.
        topic: &'static str,
    },
}

/// Copies until told to stop. Blocks.
///
/// # Errors
/// [`CopyError`].
pub fn copy(task: &CopyTask, stop: &CancellationToken) -> Result<(), CopyError> {
    let copier = Copier::start(task)?;
    while !stop.is_cancelled() {
        if let Some(first) = copier.consumer.poll(IDLE_WAIT) {
            copier.batch(first)?;
        }
    }
    Ok(())
}

struct Copier<'a> {
    task: &'a CopyTask,
    to: String,
    consumer: BaseConsumer,
    producer: BaseProducer<Failures>,
}

type Polled<'a> = Result<BorrowedMessage<'a>, KafkaError>;

impl<'a> Copier<'a> {
    fn start(task: &'a CopyTask) -> Result<Self, CopyError> {
        let failed = |doing| move |source| CopyError::Kafka { topic: task.from.name, doing, source };
        let consumer: BaseConsumer = consumer_settings(task).create().map_err(failed("making a consumer"))?;
        let from = format!("{}{}", task.prefix, task.from.name);
        let mut assignment = TopicPartitionList::new();
        for partition in &task.partitions {
            let added = assignment.add_partition_offset(&from, partition.cast_signed(), Offset::Beginning);
            added.map_err(failed("naming partitions"))?;
        }
        // By hand: a baseline needs nobody who shares the partitions out.
        consumer.assign(&assignment).map_err(failed("taking partitions"))?;
        let producer: BaseProducer<Failures> =
            producer_settings(task).create_with_context(Failures::default()).map_err(failed("making a producer"))?;
        if task.transactional {
            producer.init_transactions(CALL_MAX).map_err(failed("starting transactions"))?;
        }
        Ok(Self { task, to: format!("{}{}", task.prefix, task.to.name), consumer, producer })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(KafkaError) -> CopyError + use<> {
        let topic = self.task.from.name;
        move |source| CopyError::Kafka { topic, doing, source }
    }

    /// Everything that is there, up to the limit, and a commit.
    fn batch(&self, first: Polled<'_>) -> Result<(), CopyError> {
        if self.task.transactional {
            self.producer.begin_transaction().map_err(self.failed("beginning a transaction"))?;
        }
        let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
        let mut next = Some(first);
        let mut records = 0;
        while let Some(message) = next {
            let message = message.map_err(self.failed("reading"))?;
            self.produce(&message)?;
            positions.insert(message.partition(), message.offset() + 1);
            records += 1;
            next = if records < self.task.batch_records_max { self.consumer.poll(Duration::ZERO) } else { None };
        }
        let from = format!("{}{}", self.task.prefix, self.task.from.name);
        let mut offsets = TopicPartitionList::with_capacity(positions.len());
        for (partition, position) in positions {
            let added = offsets.add_partition_offset(&from, partition, Offset::Offset(position));
            added.map_err(self.failed("naming positions"))?;
        }
        if !self.task.transactional {
            self.await_delivery()?;
            return self.consumer.commit(&offsets, CommitMode::Sync).map_err(self.failed("committing positions"));
        }
        if let Some(group) = self.consumer.group_metadata() {
            let sent = self.producer.send_offsets_to_transaction(&offsets, &group, CALL_MAX);
            sent.map_err(self.failed("adding positions to a transaction"))?;
        }
        self.await_delivery()?;
        self.producer.commit_transaction(CALL_MAX).map_err(self.failed("committing a transaction"))
    }

    fn produce(&self, message: &BorrowedMessage<'_>) -> Result<(), CopyError> {
        let partition = message.partition() % self.task.to_partitions.cast_signed();
        let mut record = BaseRecord::to(&self.to)
            .partition(partition)
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        record.headers = message.headers().map(BorrowedHeaders::detach);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    self.producer.poll(DELIVERY_LOOK);
                    record = refused;
                }
                Err((error, _)) => return Err(self.failed("producing")(error)),
            }
        }
    }

    fn await_delivery(&self) -> Result<(), CopyError> {
        let deadline = Instant::now() + CALL_MAX;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(DELIVERY_LOOK);
        }
        let failed = self.producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if failed.is_some() || self.producer.in_flight_count() > 0 {
            return Err(CopyError::Undelivered { topic: self.task.from.name });
        }
        Ok(())
    }
}

/// Hears which records were not delivered; those that were are not reported at all.
#[derive(Default)]
struct Failures(Mutex<Option<KafkaError>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

fn settings(task: &CopyTask, settings: &[(&str, &str)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &task.brokers).set("retry.backoff.ms", "5").set("socket.nagle.disable", "true");
    for (name, value) in settings {
        client.set(*name, *value);
    }
    client
}

fn consumer_settings(task: &CopyTask) -> ClientConfig {
    let mut client = settings(
        task,
        &[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("fetch.wait.max.ms", "20"),
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", "32768"),
        ],
    );
    client.set("group.id", format!("{}copy-{}", task.prefix, task.from.name));
    client
}

fn producer_settings(task: &CopyTask) -> ClientConfig {
    let mut client = settings(
        task,
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("linger.ms", "1"),
            ("queue.buffering.max.messages", "1000000"),
            ("queue.buffering.max.kbytes", "262144"),
            ("message.timeout.ms", "8000"),
            ("delivery.report.only.error", "true"),
        ],
    );
    if task.transactional {
        let first = task.partitions.first().copied().unwrap_or(0);
        client.set("transactional.id", format!("{}copy-{}-{first}", task.prefix, task.from.name));
        client.set("transaction.timeout.ms", "10000");
    }
    client
}
