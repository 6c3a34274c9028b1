//! Whether the brokers are new enough.
//!
//! librdkafka leaves out of a request what an old broker does not know, and says nothing: the member
//! and generation of a commit, say, by which brokers refuse the commit of a member that lost its
//! partitions. What versions a broker knows it tells in its log alone, under the debug context
//! `feature`; so the client that looks at the cluster first has that on, and its lines are read here.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

use super::events::{self, Trouble};

/// A request that brokers must know in this version or a later one.
#[derive(Debug, Clone, Copy)]
struct Needed {
    api_key: i16,
    name: &'static str,
    version: i16,
}

/// The release that has all of [`NEEDED`].
pub(super) const OLDEST_RELEASE: &str = "2.5";

const NEEDED: [Needed; 3] = [
    // Asks for positions that no open transaction may still change (KIP-447).
    Needed { api_key: 9, name: "OffsetFetch", version: 7 },
    // Static members, which come back to their partitions after a restart (KIP-345).
    Needed { api_key: 11, name: "JoinGroup", version: 5 },
    // Names the member and its generation (KIP-447).
    Needed { api_key: 28, name: "TxnOffsetCommit", version: 3 },
];

/// Listens to what the brokers can do, and to why they can't be reached.
#[derive(Default)]
pub(super) struct Versions {
    too_old: Mutex<Option<String>>,
    pub trouble: Trouble,
}

impl Versions {
    /// Settings of a client whose log tells the versions.
    pub fn listening(mut settings: ClientConfig) -> ClientConfig {
        settings.set("debug", "feature").set_log_level(Level::Debug);
        settings
    }

    /// What one of the brokers lacks, as far as its lines were taken in.
    pub fn too_old(&self) -> Option<String> {
        self.too_old.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, line: &str) {
        let Some((api_key, highest)) = known(line) else { return };
        let Some(needed) = NEEDED.iter().find(|needed| needed.api_key == api_key) else { return };
        if highest < needed.version {
            let Needed { name, version, .. } = needed;
            let lacks = format!("it knows {name} up to version {highest}, and {version} is needed");
            *self.too_old.lock().unwrap_or_else(PoisonError::into_inner) = Some(lacks);
        }
    }
}

/// The request of a line, and the highest version that the broker knows of it:
/// `[thrd:host:9092/1]: host:9092/1:   ApiKey OffsetFetch (9) Versions 0..7`.
fn known(line: &str) -> Option<(i16, i16)> {
    let (_, request) = line.split_once("ApiKey ")?;
    let (_, key_and_versions) = request.split_once(" (")?;
    let (key, versions) = key_and_versions.split_once(") Versions ")?;
    let (_, highest) = versions.split_once("..")?;
    Some((key.parse().ok()?, highest.trim().parse().ok()?))
}

impl ClientContext for Versions {
    fn log(&self, level: Level, facility: &str, line: &str) {
        match level {
            Level::Debug => self.hear(line),
            Level::Emerg
            | Level::Alert
            | Level::Critical
            | Level::Error
            | Level::Warning
            | Level::Notice
            | Level::Info => events::log(level, facility, line),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }
}

impl ConsumerContext for Versions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_lacks_is_read_from_the_log_of_its_versions() {
        let line = |api: &str| format!("[thrd:k1:9092/1]: k1:9092/1:   ApiKey {api}");
        let versions = Versions::default();
        for fine in ["OffsetFetch (9) Versions 1..10", "TxnOffsetCommit (28) Versions 0..5", "Vote (52) Versions 0..0"]
        {
            versions.hear(&line(fine));
        }
        versions.hear("[thrd:k1:9092/1]: k1:9092/1: Broker API support:");
        assert_eq!(versions.too_old(), None);
        versions.hear(&line("TxnOffsetCommit (28) Versions 0..2"));
        let lacks = versions.too_old().unwrap();
        assert_eq!(lacks, "it knows TxnOffsetCommit up to version 2, and 3 is needed");
    }
}
