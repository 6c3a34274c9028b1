//! What librdkafka says of its clients: log lines, passing errors, and whether they know any broker.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};

use super::native;

/// A client that only says what happens.
#[derive(Default)]
pub(super) struct Events {
    pub known: KnownBrokers,
}

impl ClientContext for Events {
    fn log(&self, level: Level, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        passing(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.known.note(&statistics);
    }
}

/// Whether a client knows any broker.
///
/// One that asks a broker which has just started, and has not heard of any broker itself yet, believes it:
/// it forgets all brokers, and never looks for one again (confluentinc/librdkafka#5301). Its statistics
/// show that; then it is told where to look.
#[derive(Default)]
pub(super) struct KnownBrokers {
    none: AtomicBool,
}

impl KnownBrokers {
    /// Takes in a client's statistics.
    pub fn note(&self, statistics: &Statistics) {
        let is_real = |source: &str| matches!(source, "learned" | "configured");
        let none = !statistics.brokers.values().any(|broker| is_real(&broker.source));
        self.none.store(none, Ordering::SeqCst);
    }

    /// Tells a client that knows none of these brokers, `host:port,host:port`.
    pub fn remind<C: ClientContext>(&self, client: &Client<C>, brokers: &str) {
        if self.none.swap(false, Ordering::SeqCst) {
            let added = native::add_brokers(client, brokers);
            tracing::warn!(target: "librdkafka", added, "a client had forgotten all brokers: it is told of them again");
        }
    }
}

impl ConsumerContext for Events {}

/// A line of librdkafka's own log. It repeats what errors say, in more words: so one level lower.
pub(super) fn log(level: Level, facility: &str, line: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(target: "librdkafka", facility, "{line}"),
        Level::Error => tracing::warn!(target: "librdkafka", facility, "{line}"),
        Level::Warning | Level::Notice => tracing::info!(target: "librdkafka", facility, "{line}"),
        Level::Info | Level::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// An error that librdkafka goes on after by itself: a broker that is away, say.
pub(super) fn passing(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "librdkafka", %error, "{reason}");
}
