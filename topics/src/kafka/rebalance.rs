//! What librdkafka says about a group: which partitions come and go.
//!
//! It says so in a callback, while the member's thread polls. The callback only notes it: the thread
//! answers when the owner has been told, and librdkafka waits for that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use super::events::{self, KnownBrokers};

/// A change that was not answered yet.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(Vec<u32>),
    /// To be given up in good order.
    Revoked(Vec<u32>),
    Lost(Vec<u32>),
}

#[derive(Default)]
pub(super) struct Rebalances {
    changes: Mutex<VecDeque<Change>>,
    /// The owner left: what is revoked is given up at once.
    leaving: AtomicBool,
    pub known: KnownBrokers,
}

impl Rebalances {
    pub fn next(&self) -> Option<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// A change that could not be answered yet comes first again.
    pub fn put_back(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_front(change);
    }

    pub fn is_waiting(&self) -> bool {
        !self.changes.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::SeqCst);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        events::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::passing(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.known.note(&statistics);
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::SeqCst) {
            let answered = if assigned { consumer.incremental_assign(list) } else { give_up(consumer, list) };
            if let Err(error) = answered {
                tracing::debug!(%error, "a rebalance could not be answered while leaving");
            }
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition().cast_unsigned()).collect();
        let change = match (assigned, consumer.assignment_lost()) {
            (true, _) => Change::Assigned(partitions),
            (false, false) => Change::Revoked(partitions),
            (false, true) => Change::Lost(partitions),
        };
        tracing::debug!(?change, "rebalance");
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }
}

/// Answers a revocation. The protocol is none once the member has left its group.
pub(super) fn give_up(consumer: &BaseConsumer<Rebalances>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}
