//! Appending outside of groups: one idempotent producer for all callers, polled by a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::blocking::drop_in_background;
use super::cluster::{Cluster, is_missing};
use super::config::RECORD_BYTES_MAX;
use super::error::Failure;
use super::{events, record};
use crate::log::{LogError, Outgoing, Place};
use crate::queue_metrics;

/// Room that a record's overhead takes in the limit of its size, bytes.
const RECORD_OVERHEAD_BYTES: usize = 1_024;

/// How long a record that was not taken counts as a sign that no others would be. A gateway's heartbeat comes sooner.
const FAILURE_COUNTS: Duration = Duration::from_secs(15);

pub(super) struct Appender {
    cluster: Arc<Cluster>,
    /// Replaced when it can't go on. `None` only while it is being dropped.
    producer: RwLock<Option<Arc<ThreadedProducer<Acknowledgements>>>>,
    /// A permit a record that is not acknowledged yet.
    room: Arc<Semaphore>,
    undelivered: Arc<Undelivered>,
}

/// Why the brokers did not take the newest record, if they did not.
#[derive(Default)]
struct Undelivered {
    any: AtomicBool,
    last: Mutex<Option<(Code, Instant)>>,
}

impl Undelivered {
    fn note(&self, outcome: Option<Code>) {
        // Records are many, and failures few: the lock is for these.
        if outcome.is_some() || self.any.load(Ordering::SeqCst) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = outcome.map(|code| (code, Instant::now()));
            self.any.store(outcome.is_some(), Ordering::SeqCst);
        }
    }
}

/// The records of one call of `append`.
struct Call {
    state: Mutex<CallState>,
    /// Given back with the last record.
    _room: OwnedSemaphorePermit,
}

struct CallState {
    places: Vec<Place>,
    unanswered: usize,
    failed: Option<Code>,
    done: Option<oneshot::Sender<Result<Vec<Place>, Code>>>,
}

/// One record of a call.
struct Ticket {
    call: Arc<Call>,
    index: usize,
}

impl Call {
    fn answer(&self, index: usize, answer: Result<Place, Code>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(place) => state.places[index] = place,
            Err(code) => {
                state.failed.get_or_insert(code);
            }
        }
        state.unanswered -= 1;
        if state.unanswered == 0
            && let Some(done) = state.done.take()
        {
            let answer = match state.failed {
                Some(code) => Err(code),
                None => Ok(std::mem::take(&mut state.places)),
            };
            let _caller_gone = done.send(answer);
        }
    }
}

/// Hears which records the brokers have.
struct Acknowledgements {
    undelivered: Arc<Undelivered>,
}

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        events::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::passing(&error, reason);
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            Ok(message) => {
                Ok(Place { partition: message.partition().cast_unsigned(), offset: message.offset().cast_unsigned() })
            }
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.undelivered.note(answer.as_ref().err().copied());
        ticket.call.answer(ticket.index, answer);
    }
}

impl Appender {
    pub fn new(cluster: Arc<Cluster>) -> Result<Self, LogError> {
        let room = Arc::new(Semaphore::new(cluster.config.append_queue_records_max as usize));
        let undelivered = Arc::default();
        let producer = RwLock::new(Some(create(&cluster, &undelivered)?));
        Ok(Self { cluster, producer, room, undelivered })
    }

    /// Whether the brokers took what they were last given. A failure counts for a while: who is refused may not
    /// try again.
    pub fn took_the_last(&self) -> Result<(), LogError> {
        match *self.undelivered.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((code, at)) if at.elapsed() < FAILURE_COUNTS => {
                Err(self.cluster.speaker("appending records").error(Failure::undelivered(code)))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub async fn append(&self, records: &[Outgoing]) -> Result<Vec<Place>, LogError> {
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            check_size(record)?;
            places.push(self.cluster.place(record)?);
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let room_max = self.cluster.config.append_queue_records_max;
        let room = u32::try_from(records.len()).unwrap_or(room_max).min(room_max);
        let room = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_closed| LogError::Closed)?;
        let waiting = (room_max as usize).saturating_sub(self.room.available_permits());
        queue_metrics::set("kafka-append-records", waiting, room_max as usize);
        let (done, answered) = oneshot::channel();
        let state = CallState {
            places: vec![Place { partition: 0, offset: 0 }; records.len()],
            unanswered: records.len(),
            failed: None,
            done: Some(done),
        };
        let call = Arc::new(Call { state: Mutex::new(state), _room: room });
        let producer = self.producer.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(LogError::Closed)?;
        for (index, (outgoing, (topic, partition))) in records.iter().zip(places).enumerate() {
            let ticket = Box::new(Ticket { call: Arc::clone(&call), index });
            let mut wanted = BaseRecord::with_opaque_to(&topic.name, ticket)
                .partition(partition)
                .key(outgoing.key.as_ref())
                .payload(outgoing.value.as_ref());
            wanted.headers = record::to_kafka(&outgoing.headers);
            if let Err((error, wanted)) = producer.send(wanted) {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                call.answer(wanted.delivery_opaque.index, Err(code));
            }
        }
        drop(call);
        match answered.await {
            Ok(Ok(places)) => Ok(places),
            Ok(Err(code)) => Err(self.failed(&producer, code, records)),
            Err(_producer_gone) => Err(LogError::Closed),
        }
    }

    fn failed(&self, producer: &Arc<ThreadedProducer<Acknowledgements>>, code: Code, records: &[Outgoing]) -> LogError {
        // A client may never hear of a leader that came back (confluentinc/librdkafka#5430), and does not
        // recover from a fatal error: a fresh one does.
        if code == Code::MessageTimedOut || producer.client().fatal_error().is_some() {
            let mut current = self.producer.write().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer)) {
                match create(&self.cluster, &self.undelivered) {
                    Ok(fresh) => drop_in_background(current.replace(fresh)),
                    Err(e) => return e,
                }
            }
        }
        match (code, records.first()) {
            (Code::MessageSizeTooLarge | Code::InvalidMessageSize, _) => {
                let bytes = records.iter().map(|record| record.key.len() + record.value.len()).max().unwrap_or(0);
                LogError::TooLarge { what: "a record", bytes, max: RECORD_BYTES_MAX }
            }
            (code, Some(first)) if is_missing(code) => LogError::NoSuchTopic { topic: first.topic.name.to_owned() },
            (code, _) => self.cluster.speaker("appending records").error(Failure::undelivered(code)),
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Its thread is awaited, which takes up to 100 ms.
        drop_in_background(self.producer.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn create(
    cluster: &Cluster,
    undelivered: &Arc<Undelivered>,
) -> Result<Arc<ThreadedProducer<Acknowledgements>>, LogError> {
    let context = Acknowledgements { undelivered: Arc::clone(undelivered) };
    let producer = cluster.config.appender().create_with_context::<_, ThreadedProducer<_>>(context);
    producer.map(Arc::new).map_err(|e| cluster.speaker("making a producer").settings_error(e))
}

/// Refuses a record that no broker would take.
pub(super) fn check_size(record: &Outgoing) -> Result<(), LogError> {
    let bytes = record.key.len() + record.value.len();
    let max = RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES;
    if bytes > max { Err(LogError::TooLarge { what: "a record", bytes, max }) } else { Ok(()) }
}
