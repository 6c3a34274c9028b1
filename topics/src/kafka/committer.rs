//! A member's producer: outputs and positions, in a transaction or one after the other.
//!
//! Every call blocks; the member's own thread makes them. A transaction never outlives the call that
//! began it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::append::check_size;
use super::cluster::{Cluster, Topic};
use super::error::{Failure, fenced};
use super::{events, native, record};
use crate::log::{Class, LogError, MemberSpec, Outgoing};

/// A look at delivery failures, while records are in flight.
const FAILURE_LOOK: Duration = Duration::from_millis(100);
/// A pause after a retriable answer that came at once.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Committer {
    cluster: Arc<Cluster>,
    spec: MemberSpec,
    producer: BaseProducer<Failures>,
    /// The client said that it can't go on.
    broken: bool,
}

/// Positions to be committed, and as whom.
pub(super) struct Positions {
    pub offsets: TopicPartitionList,
    pub member: ConsumerGroupMetadata,
}

impl Positions {
    pub fn list(topic: &Topic, positions: &[(u32, u64)]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(positions.len());
        for &(partition, offset) in positions {
            let offset = Offset::Offset(offset.cast_signed());
            offsets.add_partition_offset(&topic.name, partition.cast_signed(), offset)?;
        }
        Ok(offsets)
    }
}

/// Hears which records the brokers did not take.
#[derive(Default)]
struct Failures(Mutex<Option<Code>>);

impl Failures {
    fn take(&self) -> Option<Code> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Failures {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        events::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::passing(&error, reason);
    }
}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
    }
}

impl Committer {
    /// Makes the producer. A transactional one fences whoever had its name, and ends what that left open.
    pub fn new(cluster: Arc<Cluster>, spec: MemberSpec) -> Result<Self, LogError> {
        let doing = "starting a transactional producer";
        let producer: KafkaResult<BaseProducer<_>> =
            cluster.config.committer(&spec).create_with_context(Failures::default());
        let producer = producer.map_err(|e| cluster.speaker(doing).settings_error(e))?;
        let committer = Self { cluster, spec, producer, broken: false };
        if committer.spec.transactional {
            let timeout = committer.cluster.config.timeouts.transaction;
            let deadline = Instant::now() + committer.cluster.config.timeouts.connect;
            committer
                .retry_until(deadline, || committer.producer.init_transactions(timeout))
                .map_err(|failure| committer.cluster.speaker(doing).member_error(&committer.spec, failure))?;
        }
        Ok(committer)
    }

    /// Takes in log lines and errors that came while nothing was committed.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Refuses outputs that no broker would take, before anything is begun.
    pub fn check(&self, outputs: &[Outgoing]) -> Result<(), LogError> {
        outputs.iter().try_for_each(|output| {
            check_size(output)?;
            self.cluster.place(output).map(|_| ())
        })
    }

    /// Outputs and positions in one transaction.
    pub fn transact(&mut self, outputs: &[Outgoing], positions: Option<&Positions>) -> Result<(), LogError> {
        if self.broken {
            return Err(fenced(&self.spec));
        }
        let timeout = self.cluster.config.timeouts.transaction;
        let deadline = Instant::now() + timeout;
        let prepared = self.prepare(outputs, positions, deadline, timeout);
        if let Err(failure) = prepared {
            return Err(self.abort(failure));
        }
        // From here on only the brokers know how it ends: the same call again, or a new member, whose
        // committed positions tell.
        match self.retry_until(deadline + timeout, || self.producer.commit_transaction(timeout)) {
            Ok(()) => Ok(()),
            Err(failure) if failure.class == Class::Abort => Err(self.abort(failure)),
            Err(failure) => Err(self.give_up_client(failure)),
        }
    }

    fn prepare(
        &self,
        outputs: &[Outgoing],
        positions: Option<&Positions>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), Failure> {
        self.retry_until(deadline, || self.producer.begin_transaction())?;
        self.produce(outputs, deadline)?;
        // Outputs first: once the group has taken the positions, a new owner finds this transaction in the
        // changelog, and waits for it, even where the group's coordinator has forgotten it.
        self.await_delivery(deadline)?;
        match positions {
            None => Ok(()),
            Some(Positions { offsets, member }) => {
                self.retry_until(deadline, || self.producer.send_offsets_to_transaction(offsets, member, timeout))
            }
        }
    }

    /// Outputs, until the brokers have them all.
    pub fn deliver(&mut self, outputs: &[Outgoing]) -> Result<(), LogError> {
        // Each record gives up before this does.
        let deadline = Instant::now() + self.cluster.config.timeouts.delivery + self.cluster.config.timeouts.request;
        let delivered = self.produce(outputs, deadline).and_then(|()| self.await_delivery(deadline));
        delivered.map_err(|failure| {
            if failure.code == Code::MessageTimedOut || self.producer.client().fatal_error().is_some() {
                return self.give_up_client(failure);
            }
            self.cluster.speaker("delivering outputs").error(failure)
        })
    }

    fn produce(&self, outputs: &[Outgoing], deadline: Instant) -> Result<(), Failure> {
        for output in outputs {
            let missing = |_| Failure::undelivered(Code::UnknownPartition);
            let (topic, partition) = self.cluster.place(output).map_err(missing)?;
            let mut wanted = BaseRecord::to(&topic.name)
                .partition(partition)
                .key(output.key.as_ref())
                .payload(output.value.as_ref());
            wanted.headers = record::to_kafka(&output.headers);
            while let Err((error, refused)) = self.producer.send(wanted) {
                if error.rdkafka_error_code() != Some(Code::QueueFull) || Instant::now() >= deadline {
                    return Err(error.into());
                }
                native::flush(&self.producer, RETRY_PAUSE);
                wanted = refused;
            }
        }
        Ok(())
    }

    fn await_delivery(&self, deadline: Instant) -> Result<(), Failure> {
        while !native::flush(&self.producer, FAILURE_LOOK) {
            self.producer.poll(Duration::ZERO);
            if Instant::now() >= deadline {
                return Err(Failure::undelivered(Code::MessageTimedOut));
            }
        }
        self.producer.poll(Duration::ZERO);
        self.producer.context().take().map_or(Ok(()), |code| Err(Failure::undelivered(code)))
    }

    /// Makes a call again for as long as it may succeed.
    fn retry_until(&self, deadline: Instant, call: impl Fn() -> KafkaResult<()>) -> Result<(), Failure> {
        loop {
            let failure = match call() {
                Ok(()) => return Ok(()),
                Err(e) => Failure::from(e),
            };
            if failure.class != Class::Retry || Instant::now() >= deadline {
                return Err(failure);
            }
            self.producer.poll(RETRY_PAUSE);
        }
    }

    /// Ends a transaction that was not committed: aborts it where that is possible.
    fn abort(&mut self, failure: Failure) -> LogError {
        if failure.class == Class::Rebuild {
            return self.give_up_client(failure);
        }
        // In short steps: it ends only when what it throws away was polled, as failed.
        let deadline = Instant::now() + self.cluster.config.timeouts.transaction;
        let aborted = self.retry_until(deadline, || self.producer.abort_transaction(FAILURE_LOOK));
        self.producer.poll(RETRY_PAUSE);
        self.producer.context().take();
        match aborted {
            Err(of_abort) => self.give_up_client(of_abort),
            Ok(()) if failure.is_fenced() => fenced(&self.spec),
            Ok(()) if failure.code == Code::MessageTimedOut => self.give_up_client(failure),
            Ok(()) => LogError::Aborted { brokers: self.cluster.config.brokers.clone(), source: Box::new(failure) },
        }
    }

    /// Ends this producer: after a fatal error, when it is unknown how a commit ended, and when records
    /// could not be delivered in time, since a client may never hear of a leader that came back
    /// (confluentinc/librdkafka#5430).
    fn give_up_client(&mut self, failure: Failure) -> LogError {
        self.broken = true;
        let failure = failure.rooted(self.producer.client());
        if failure.is_fenced() {
            return fenced(&self.spec);
        }
        LogError::Broken { doing: "committing", source: Box::new(failure) }
    }
}
