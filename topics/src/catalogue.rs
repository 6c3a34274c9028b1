//! Every topic, declared once. No topic's name stands anywhere else.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use schemas::avro::{AvroError, PresenceEvent, Record};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::records::{DedupeWindow, Delivery, GroupTask, Head, LogIdentity, Sequenced, Upstream};

/// What a log needs to know of a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: &'static str,
    pub partitions: Partitions,
    /// What is dropped, and when.
    pub cleanup: Cleanup,
    /// The record it carries, for tools.
    pub record: &'static str,
    /// What its key is, for tools.
    pub key: &'static str,
}

/// How many partitions a topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// As many as every chain topic: a conversation keeps its partition from edge to edge.
    Chain,
    /// One a gateway slot.
    Slots,
    Fixed(u32),
}

/// What a log drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Records older than this.
    Delete(Duration),
    /// All but the newest record of each key.
    Compact,
}

/// How many partitions there are, where the catalogue leaves it to the installation. Fixed when the
/// topics are made: growing `chain_partitions` would restart the sequences of conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Of every topic with [`Partitions::Chain`].
    pub chain_partitions: u32,
    /// Of every topic with [`Partitions::Slots`]: how many gateways there can be.
    pub gateway_slots: u32,
}

impl Layout {
    /// How many partitions a topic has here.
    pub fn partitions(&self, topic: &TopicSpec) -> u32 {
        match topic.partitions {
            Partitions::Chain => self.chain_partitions,
            Partitions::Slots => self.gateway_slots,
            Partitions::Fixed(n) => n,
        }
    }
}

/// A key that a log can hold.
pub trait Key {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
}

/// A topic whose records have keys of type `K` and values of type `V`: a stage that is wired to a
/// topic of other records does not compile.
#[derive(Debug)]
pub struct Topic<K, V> {
    /// What the log needs to know.
    pub spec: TopicSpec,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Record> Topic<K, V> {
    const fn new(spec: TopicSpec) -> Self {
        Self { spec, types: PhantomData }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The dedupe window that topics must be kept for, with a margin: the longest that may be configured.
pub const DEDUPE_WINDOW_MAX: Duration = HOUR;
/// The dedupe window where none is configured.
pub const DEDUPE_WINDOW_DEFAULT: Duration = Duration::from_secs(600);

/// How long dedupe remembers a message, by log-append time, where clients are told of this window: a tenth longer,
/// since a resend that comes in time waits for the log, and brokers' clocks differ.
pub fn dedupe_memory(window: Duration) -> Duration {
    window + window / 10
}

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident: $key:ty, $value:ty = $text:literal, $partitions:expr, $cleanup:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $name: Topic<$key, $value> = Topic::new(TopicSpec {
                name: $text,
                partitions: $partitions,
                cleanup: $cleanup,
                record: <$value as Record>::NAME,
                key: stringify!($key),
            });
        )*

        /// Every topic, in the order of the chain.
        pub static ALL: &[&TopicSpec] = &[$(&$name.spec,)*];
    };
}

topics! {
    /// What clients and the repo want said. Gateway, SaveMessage and outbox → dedupe.
    UPSTREAM: ConversationId, Upstream =
        "upstream-messages", Partitions::Chain, Cleanup::Delete(Duration::from_secs(7 * 24 * 3_600));
    /// Each message once. dedupe → id-assign.
    ACCEPTED: ConversationId, Upstream =
        "accepted-messages", Partitions::Chain, Cleanup::Delete(DAY);
    /// Each message with its identity. id-assign → persist, and anyone.
    SEQUENCED: ConversationId, Sequenced =
        "sequenced-messages", Partitions::Chain, Cleanup::Delete(Duration::from_secs(7 * 24 * 3_600));
    /// Each message that the repo has. persist → fan-out.
    PERSISTED: ConversationId, Sequenced =
        "persisted-messages", Partitions::Chain, Cleanup::Delete(DAY);
    /// What a gateway shall send; the partition is its slot. fan-out, large-group → gateways.
    DELIVERIES: ConversationId, Delivery =
        "downstream-deliveries", Partitions::Slots, Cleanup::Delete(HOUR);
    /// Pages of the fan-out to large groups. fan-out, large-group → large-group.
    GROUP_TASKS: GroupId, GroupTask =
        "group-tasks", Partitions::Chain, Cleanup::Delete(DAY);
    /// Who is online where, and which slots are alive. gateways → fan-out, large-group, repo.
    PRESENCE: PresenceKey, PresenceEvent =
        "presence", Partitions::Fixed(1), Cleanup::Compact;
    /// Changelog of id-assign; partition as the chain's.
    HEADS: ConversationId, Head =
        "conversation-heads", Partitions::Chain, Cleanup::Compact;
    /// Changelog of dedupe; partition as the chain's.
    DEDUPE_WINDOW: PartitionKey, DedupeWindow =
        "dedupe-window", Partitions::Chain, Cleanup::Delete(DEDUPE_WINDOW_MAX.saturating_mul(2));
    /// Which log this is. The first record counts; two are there when two processes began at once.
    LOG_IDENTITY: LogIdentityKey, LogIdentity =
        "log-identity", Partitions::Fixed(1), Cleanup::Compact;
    /// Bytes that are no record, as they came; error and source are in the headers.
    DEAD_LETTERS: RawKey, Raw =
        "dead-letters", Partitions::Fixed(1), Cleanup::Delete(Duration::from_secs(30 * 24 * 3_600));
}

pub fn by_name(name: &str) -> Option<&'static TopicSpec> {
    ALL.iter().copied().find(|topic| topic.name == name)
}

impl Key for ConversationId {
    fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        write!(out, "{self}").expect("writing to a Vec does not fail");
    }
}

impl Key for GroupId {
    fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        write!(out, "{self}").expect("writing to a Vec does not fail");
    }
}

/// A record that says its own key.
pub trait Keyed<K> {
    fn key(&self) -> K;
}

impl Keyed<ConversationId> for Upstream {
    fn key(&self) -> ConversationId {
        self.conversation_id
    }
}

impl Keyed<ConversationId> for Sequenced {
    fn key(&self) -> ConversationId {
        self.conversation_id
    }
}

impl Keyed<ConversationId> for Delivery {
    fn key(&self) -> ConversationId {
        self.message.conversation_id
    }
}

impl Keyed<ConversationId> for Head {
    fn key(&self) -> ConversationId {
        self.conversation_id
    }
}

impl Keyed<GroupId> for GroupTask {
    fn key(&self) -> GroupId {
        self.group_id
    }
}

/// Key of the presence topic: what a newer record of the same key replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceKey {
    /// A user on a slot: `user/slot`.
    User(UserId, i32),
    /// A slot: `slot`.
    Slot(i32),
}

impl Key for PresenceKey {
    fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        match self {
            Self::User(user, slot) => write!(out, "{user}/{slot}"),
            Self::Slot(slot) => write!(out, "{slot}"),
        }
        .expect("writing to a Vec does not fail");
    }
}

/// Key of a changelog whose records belong to a partition as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionKey(pub u32);

impl Key for PartitionKey {
    fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        write!(out, "{}", self.0).expect("writing to a Vec does not fail");
    }
}

/// Key of an identity: the id itself, so that compaction keeps the first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentityKey(pub String);

impl Key for LogIdentityKey {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

impl Keyed<LogIdentityKey> for LogIdentity {
    fn key(&self) -> LogIdentityKey {
        LogIdentityKey(self.id.clone())
    }
}

/// A key as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawKey(pub Bytes);

impl Key for RawKey {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// A value as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl Record for Raw {
    const NAME: &'static str = "bytes";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), AvroError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, AvroError> {
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dedupe_remembers_longer_than_clients_are_told_and_its_changelog_is_kept_longer_still() {
        let memory = dedupe_memory(DEDUPE_WINDOW_MAX);
        assert!(memory > DEDUPE_WINDOW_MAX);
        let Cleanup::Delete(kept) = DEDUPE_WINDOW.spec.cleanup else { panic!("a window ends") };
        assert!(kept > memory + memory / 2, "a stage that stood still for a while finds it all");
    }
}
