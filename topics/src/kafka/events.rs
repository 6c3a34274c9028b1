//! Where librdkafka's log lines and passing errors go.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// A client that only says what happens.
pub(super) struct Events;

impl ClientContext for Events {
    fn log(&self, level: Level, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        passing(&error, reason);
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
