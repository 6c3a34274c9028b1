//! What can go wrong with a log, whichever keeps the records, and what to do about it.

use std::time::Duration;

use schemas::causes::causes;

/// What to do about a [`LogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later; nothing happened.
    Retry,
    /// The transaction was aborted: rewind, restore, work it again.
    Abort,
    /// This member or client can't go on: make a new one.
    Rebuild,
    /// No retry helps: a person has to look.
    Fatal,
}

/// What can go wrong with a log. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The topic was not opened here.
    #[error("topic {topic} does not exist in this log: open the log with it first")]
    NoSuchTopic { topic: String },
    /// The partition is beyond the topic's count.
    #[error("topic {topic} has {partitions} partitions; there is no partition {partition}")]
    NoSuchPartition { topic: String, partition: u32, partitions: u32 },
    /// There is no log of the project there.
    #[error("kafka at {brokers} has no topic {topic}: is it the right cluster, and the right log.kafka.topic_prefix?")]
    NoLog {
        brokers: String,
        /// The topic that was looked for, with its prefix.
        topic: String,
    },
    /// The topic was made with other settings than the catalogue's.
    #[error(
        "topic {topic} differs from what is configured: {difference}. Sequences would restart; configure it as it is, or use another log"
    )]
    TopicDiffers {
        topic: String,
        /// In what, with both values.
        difference: String,
    },
    /// The log was made for another dedupe window.
    #[error(
        "this log was made for a dedupe window of {} s, and {} s are configured: clients would be told of a window that is not kept. Set stages.dedupe_window_seconds to {} in every process, or use another log",
        recorded.as_secs(), configured.as_secs(), recorded.as_secs()
    )]
    WindowDiffers {
        /// What the log was made for.
        recorded: Duration,
        /// What this process is configured for.
        configured: Duration,
    },
    /// The offset is no longer, or not yet, in the log.
    #[error(
        "topic {topic} partition {partition} holds offsets in [{start}, {end}); {offset} is not among them: {}",
        why_out_of_range(*.offset, *.start)
    )]
    OffsetOutOfRange { topic: String, partition: u32, offset: u64, start: u64, end: u64 },
    /// A transaction stays open below the end.
    #[error(
        "topic {topic} partition {partition} stops at offset {offset}: a transaction was left open there. Try again; if that does not help, check the brokers"
    )]
    Stalled { topic: String, partition: u32, offset: u64 },
    /// Another member took over the name, or the partitions.
    #[error(
        "member {instance} of group {group} was fenced: another member of that name, or the new owner of its partitions, has taken over"
    )]
    Fenced { group: String, instance: String },
    /// Another process has the name of this member.
    #[error("another process ({by}) is {instance} of group {group} now: give each process names of its own")]
    Replaced { group: String, instance: String, by: String },
    /// Another process has the log open.
    #[error("{path} is in use by another process: stop it, or choose another data directory")]
    InUse { path: String },
    /// The directory is not a log, or one of a newer version.
    #[error("{path} is not usable as a log: {reason}")]
    Unusable { path: String, reason: String },
    /// Stored bytes are not what was written.
    #[error(
        "the log is damaged at topic {topic} partition {partition} offset {offset}: {reason}. Restore the data directory from a backup"
    )]
    Corrupt {
        topic: String,
        partition: u32,
        /// The first offset of the damaged batch.
        offset: u64,
        reason: String,
    },
    /// A record or batch over a limit of the log.
    #[error("{what} has {bytes} bytes; at most {max} are taken")]
    TooLarge { what: &'static str, bytes: usize, max: usize },
    /// The disk is full; nothing was written.
    #[error("no space left for {path}: free some; the log then continues by itself")]
    DiskFull { path: String },
    /// The disk or the database file failed.
    #[error("the log's storage failed while {doing}")]
    Storage {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No broker answered at start.
    #[error(
        "no Kafka broker answered at {brokers} within {seconds} s: {}. Is one running there, and reachable? log.kafka.brokers says where to look, log.kafka.connect_seconds for how long",
        causes(.source.as_ref())
    )]
    NoBroker {
        brokers: String,
        seconds: u64,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A broker lacks what exactly-once needs.
    #[error(
        "the kafka at {brokers} is too old: {lacks}. Without that a message could get a second identity: run brokers of Kafka {oldest} or later"
    )]
    BrokerTooOld { brokers: String, lacks: String, oldest: &'static str },
    /// The brokers can't be reached, or can't do it now.
    #[error(
        "kafka at {brokers} failed while {doing}: {}. Is it running there, and reachable?",
        causes(.source.as_ref())
    )]
    Unavailable {
        brokers: String,
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The brokers refuse it, and always will: rights, settings, a version that is too old.
    #[error(
        "kafka at {brokers} refused a request while {doing}: {}. Check the rights of this client, its settings, and the brokers' version",
        causes(.source.as_ref())
    )]
    Refused {
        brokers: String,
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The transaction was aborted; nothing of it is visible.
    #[error("a transaction on kafka at {brokers} was aborted: its records are processed again")]
    Aborted {
        brokers: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client hit a fatal error.
    #[error("the kafka client failed for good while {doing}: a new one is made")]
    Broken {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

fn why_out_of_range(offset: u64, start: u64) -> &'static str {
    if offset < start {
        "records were dropped before they were read, choose a position by hand"
    } else {
        "it is not written yet"
    }
}

impl LogError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::DiskFull { .. } | Self::NoBroker { .. } | Self::Stalled { .. } | Self::Unavailable { .. } => {
                Class::Retry
            }
            Self::Aborted { .. } => Class::Abort,
            Self::Fenced { .. } | Self::Replaced { .. } | Self::Broken { .. } => Class::Rebuild,
            Self::NoLog { .. }
            | Self::NoSuchTopic { .. }
            | Self::NoSuchPartition { .. }
            | Self::TopicDiffers { .. }
            | Self::WindowDiffers { .. }
            | Self::OffsetOutOfRange { .. }
            | Self::InUse { .. }
            | Self::Unusable { .. }
            | Self::Corrupt { .. }
            | Self::TooLarge { .. }
            | Self::Storage { .. }
            | Self::BrokerTooOld { .. }
            | Self::Refused { .. }
            | Self::Closed => Class::Fatal,
        }
    }
}
