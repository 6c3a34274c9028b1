//! What is known of a cluster: the names and sizes of its topics, their bounds, positions of groups.
//!
//! Every call here waits for a broker: not to be made on a thread of the async runtime.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::blocking::drop_in_background;
use super::config::{Isolation, KafkaConfig};
use super::error::{Failure, Speaker};
use super::events::Events;
use super::native;
use crate::catalogue::TopicSpec;
use crate::log::{Bounds, LogError, Outgoing, PROBE_TIME_MAX};
use crate::partition::partition_of;

/// Clients kept for asking for the positions of groups; beyond it the oldest knowledge goes.
const GROUP_CLIENTS_MAX: usize = 16;
/// A pause after a retriable answer that came at once.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A topic as it is named and laid out here.
#[derive(Debug)]
pub(super) struct Topic {
    pub spec: &'static TopicSpec,
    pub name: String,
    pub partitions: u32,
}

pub(super) struct GroupMember {
    pub id: String,
    pub host: String,
}

pub(super) struct Cluster {
    pub config: KafkaConfig,
    topics: HashMap<&'static str, Arc<Topic>>,
    /// Sees open transactions, so that an end is the true one. Replaced when it gets no answer: it may
    /// have forgotten the brokers (see [`KnownBrokers`](super::events::KnownBrokers)).
    lookup: Mutex<Arc<BaseConsumer<Events>>>,
    group_clients: Mutex<HashMap<String, Arc<BaseConsumer<Events>>>>,
}

impl Cluster {
    pub fn new(config: KafkaConfig, topics: Vec<Topic>) -> Result<Self, LogError> {
        let lookup = Mutex::new(create_lookup(&config)?);
        let topics = topics.into_iter().map(|topic| (topic.spec.name, Arc::new(topic))).collect();
        Ok(Self { config, topics, lookup, group_clients: Mutex::default() })
    }

    pub fn speaker(&self, doing: &'static str) -> Speaker<'_> {
        Speaker { brokers: &self.config.brokers, doing }
    }

    pub fn topic(&self, spec: &TopicSpec) -> Result<&Arc<Topic>, LogError> {
        self.topics.get(spec.name).ok_or_else(|| LogError::NoSuchTopic { topic: spec.name.to_owned() })
    }

    /// The partition that a record belongs to.
    pub fn place(&self, record: &Outgoing) -> Result<(&Topic, i32), LogError> {
        let topic = self.topic(record.topic)?;
        let partition = record.partition.unwrap_or_else(|| partition_of(&record.key, topic.partitions));
        Ok((topic, topic.checked(partition)?))
    }

    pub fn bounds(&self, topic: &Topic, partition: u32) -> Result<Bounds, LogError> {
        let number = topic.checked(partition)?;
        let ask = |lookup: &BaseConsumer<_>, timeout| lookup.client().fetch_watermarks(&topic.name, number, timeout);
        let (start, end) = self.look_up("looking up the bounds of a partition", ask)?;
        Ok(Bounds { start: start.cast_unsigned(), end: end.cast_unsigned() })
    }

    pub fn offset_at(&self, topic: &Topic, partition: u32, time_ms: i64) -> Result<u64, LogError> {
        let number = topic.checked(partition)?;
        let ask = |lookup: &BaseConsumer<_>, timeout| {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset(&topic.name, number, Offset::Offset(time_ms.max(0)))?;
            lookup.offsets_for_times(times, timeout)
        };
        let found = self.look_up("looking up the offset of a time", ask)?;
        match found.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset.cast_unsigned()),
            _ => Ok(self.bounds(topic, partition)?.end),
        }
    }

    /// How many members each of these groups has.
    pub fn member_counts(&self, groups: &[String]) -> Result<Vec<usize>, LogError> {
        let ask = |lookup: &BaseConsumer<_>, timeout| {
            let sizes = native::group_sizes(lookup.client(), timeout)?;
            let size = |group: &String| sizes.found.get(&format!("{}{group}", self.config.group_prefix)).copied();
            let found: Vec<usize> = groups.iter().map(|group| size(group).unwrap_or(0)).collect();
            match sizes.unanswered {
                // The broker that did not answer may be the one that knows.
                Some(code) if found.contains(&0) => Err(KafkaError::GroupListFetch(code)),
                Some(_) | None => Ok(found),
            }
        };
        self.look_up_within(PROBE_TIME_MAX, "listing the members of groups", ask)
    }

    /// Whether a leader of the topic answers. For one that does not, the error is what the client saw last.
    pub fn probe(&self, topic: &Topic) -> Result<(), LogError> {
        let lookup = Arc::clone(&self.lookup.lock().unwrap_or_else(PoisonError::into_inner));
        let answer = lookup.client().fetch_watermarks(&topic.name, 0, PROBE_TIME_MAX);
        serve(&*lookup);
        let trouble = lookup.context().trouble.take();
        let Err(error) = answer else { return Ok(()) };
        let mut failure = Failure::from(error);
        failure.message = trouble.unwrap_or(failure.message);
        let error = self.speaker("asking whether they answer").error(failure);
        self.replace_unanswered(&lookup, &error)?;
        Err(error)
    }

    /// The committed position of each partition of a topic.
    pub fn positions(&self, group: &str, topic: &Topic) -> Result<Vec<Option<u64>>, LogError> {
        let client = {
            let mut clients = self.group_clients.lock().unwrap_or_else(PoisonError::into_inner);
            if !clients.contains_key(group) {
                if clients.len() >= GROUP_CLIENTS_MAX {
                    clients.clear();
                }
                // Committed: it waits for the transaction that is just about to commit a position.
                let settings = self.config.consumer("positions", Some(group), Isolation::Committed);
                clients.insert(group.to_owned(), create(&self.config, &settings)?);
            }
            Arc::clone(&clients[group])
        };
        serve(&client);
        let partitions: Vec<u32> = (0..topic.partitions).collect();
        let found = self.committed(&client, topic, &partitions).inspect_err(|error| {
            if matches!(error, LogError::Unavailable { .. }) {
                let forgotten = self.group_clients.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
                drop_in_background((client.clone(), forgotten));
            }
        })?;
        Ok(partitions.iter().map(|partition| found.get(partition).copied()).collect())
    }

    /// Committed positions, asked through a client of the group.
    pub fn committed<C: rdkafka::consumer::ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        topic: &Topic,
        partitions: &[u32],
    ) -> Result<HashMap<u32, u64>, LogError> {
        let ask = |timeout| {
            let mut wanted = TopicPartitionList::with_capacity(partitions.len());
            for &partition in partitions {
                wanted.add_partition(&topic.name, partition.cast_signed());
            }
            let found = client.committed_offsets(wanted, timeout)?;
            found.elements().iter().try_for_each(|element| element.error())?;
            Ok(found)
        };
        let found = self.ask(self.config.timeouts.request, "looking up committed positions", ask)?;
        let known = found.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition().cast_unsigned(), offset.cast_unsigned())),
            _ => None,
        });
        Ok(known.collect())
    }

    /// The members of a group, as brokers know them.
    pub fn members(&self, group: &str) -> Result<Vec<GroupMember>, LogError> {
        let name = format!("{}{group}", self.config.group_prefix);
        self.look_up("looking up the members of a group", |lookup, timeout| {
            let groups = lookup.client().fetch_group_list(Some(&name), timeout)?;
            let members = groups.groups().iter().flat_map(|group| group.members());
            let member = |member: &rdkafka::groups::GroupMemberInfo| GroupMember {
                id: member.id().to_owned(),
                host: member.client_host().to_owned(),
            };
            Ok(members.map(member).collect())
        })
    }

    /// The same of a group, past what transactions are about to commit.
    pub fn unsettled(&self, group: &str, topic: &Topic, partitions: &[u32]) -> Result<HashMap<u32, u64>, LogError> {
        let settings = self.config.consumer("positions", Some(group), Isolation::Uncommitted);
        let client = create(&self.config, &settings)?;
        let found = self.committed(&client, topic, partitions);
        drop_in_background(client);
        found
    }

    /// Asks through the client for lookups, and through another one the next time when there is no answer.
    fn look_up<T>(
        &self,
        doing: &'static str,
        ask: impl Fn(&BaseConsumer<Events>, Duration) -> KafkaResult<T>,
    ) -> Result<T, LogError> {
        self.look_up_within(self.config.timeouts.request, doing, ask)
    }

    fn look_up_within<T>(
        &self,
        time_max: Duration,
        doing: &'static str,
        ask: impl Fn(&BaseConsumer<Events>, Duration) -> KafkaResult<T>,
    ) -> Result<T, LogError> {
        let lookup = Arc::clone(&self.lookup.lock().unwrap_or_else(PoisonError::into_inner));
        serve(&*lookup);
        let answer = self.ask(time_max, doing, |timeout| ask(&lookup, timeout));
        if let Err(error) = &answer {
            self.replace_unanswered(&lookup, error)?;
        }
        answer
    }

    /// Puts a fresh client in the place of one that got no answer.
    fn replace_unanswered(&self, lookup: &Arc<BaseConsumer<Events>>, error: &LogError) -> Result<(), LogError> {
        if matches!(error, LogError::Unavailable { .. }) {
            let fresh = create_lookup(&self.config)?;
            let mut current = self.lookup.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&current, lookup) {
                drop_in_background((std::mem::replace(&mut *current, fresh), Arc::clone(lookup)));
            }
        }
        Ok(())
    }

    /// Asks until there is an answer, within this time: a leader may just have changed, a position may
    /// still be part of an open transaction.
    fn ask<T>(
        &self,
        timeout: Duration,
        doing: &'static str,
        ask: impl Fn(Duration) -> KafkaResult<T>,
    ) -> Result<T, LogError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let error = match ask(left.max(RETRY_PAUSE)) {
                Ok(answer) => return Ok(answer),
                Err(e) => self.speaker(doing).error(Failure::from(e)),
            };
            let passes = matches!(error, LogError::Unavailable { .. });
            if !passes || left <= RETRY_PAUSE {
                return Err(error);
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

impl Topic {
    /// The partition as Kafka numbers it, when there is one.
    pub fn checked(&self, partition: u32) -> Result<i32, LogError> {
        if partition >= self.partitions {
            let (topic, partitions) = (self.spec.name.to_owned(), self.partitions);
            return Err(LogError::NoSuchPartition { topic, partition, partitions });
        }
        Ok(partition.cast_signed())
    }
}

fn create_lookup(config: &KafkaConfig) -> Result<Arc<BaseConsumer<Events>>, LogError> {
    create(config, &config.consumer("lookup", None, Isolation::Uncommitted))
}

fn create(config: &KafkaConfig, settings: &ClientConfig) -> Result<Arc<BaseConsumer<Events>>, LogError> {
    let speaker = Speaker { brokers: &config.brokers, doing: "making a client" };
    settings.create_with_context(Events::default()).map(Arc::new).map_err(|e| speaker.settings_error(e))
}

/// Takes in what a client that is never read from has to say: log lines and errors.
fn serve<C: ClientContext + rdkafka::consumer::ConsumerContext>(client: &BaseConsumer<C>) {
    const EVENTS_MAX: usize = 16;
    for _ in 0..EVENTS_MAX {
        // An event that is no record answers with nothing, just as an empty queue does.
        drop(client.poll(Duration::ZERO));
    }
}

/// Whether an answer says that something is not there, rather than that it can't be reached.
pub(super) fn is_missing(code: Code) -> bool {
    matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
}
