//! What librdkafka says of its clients: log lines, passing errors, and whether they know any broker.
//!
//! Each client of a process complains by itself of each broker that is away. That is not logged: whoever
//! watches the log asks once a second, and tells when the brokers go away, why, and when they are back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use super::native;

/// A client that only says what happens.
#[derive(Default)]
pub(super) struct Events {
    pub known: KnownBrokers,
    pub trouble: Trouble,
}

impl ClientContext for Events {
    fn log(&self, level: Level, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.known.note(&statistics);
    }
}

/// The last error of a client. A call that timed out does not say why; this does.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Notes an error that the client recovers from by itself.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        passing(error, reason);
        // That all brokers are down only follows from what was said of each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    /// The last complaint since this was last called.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
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

/// A line of librdkafka's own log. What is not critical repeats, for each client and broker, what errors say.
pub(super) fn log(level: Level, facility: &str, line: &str) {
    match level {
        // What ends a client is the error of the call that meets it.
        _ if facility == "FATAL" => tracing::debug!(target: "librdkafka", facility, "{line}"),
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(target: "librdkafka", facility, "{line}"),
        Level::Error | Level::Warning | Level::Notice | Level::Info | Level::Debug => {
            tracing::debug!(target: "librdkafka", facility, "{line}");
        }
    }
}

/// An error that librdkafka goes on after by itself: a broker that is away, say. One that it does not go on
/// after, and one that stays, such as a refused password, shows in the calls that fail.
pub(super) fn passing(error: &KafkaError, reason: &str) {
    tracing::debug!(target: "librdkafka", %error, "{reason}");
}
