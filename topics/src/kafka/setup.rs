//! Making the topics of the catalogue, and checking those that are there already.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use tokio::time::{Instant, sleep};

use super::cluster::Topic;
use super::config::{Isolation, KafkaConfig};
use super::error::{Failure, Speaker, is_refusal};
use super::events::Events;
use super::versions::{OLDEST_RELEASE, Versions};
use super::window;
use crate::catalogue::{ALL, Cleanup, DELIVERIES, Layout, TopicSpec, UPSTREAM};
use crate::log::LogError;

/// How long one try at reaching a broker takes, and so how often it is said that none answers.
const CONNECT_TRY: Duration = Duration::from_secs(3);
/// How long what the client has heard meanwhile is taken in: some hundred lines of its log at most.
const TAKE_IN: Duration = Duration::from_millis(20);
/// How often it is looked whether a topic that was made has its leaders.
const LEADERS_LOOK: Duration = Duration::from_millis(50);

/// Waits for the brokers, makes the topics that are missing and checks the others.
pub(super) async fn topics(config: &KafkaConfig) -> Result<Vec<Topic>, LogError> {
    let setup = Setup::new(config)?;
    let topics = expected(config, config.layout);
    let metadata = setup.connect().await?;
    let missing: Vec<&Topic> = topics.iter().filter(|topic| found(&metadata, topic).is_none()).collect();
    let existing: Vec<&Topic> = topics.iter().filter(|topic| found(&metadata, topic).is_some()).collect();
    for topic in &existing {
        setup.check_layout(&metadata, topic)?;
    }
    setup.check_settings(&existing).await?;
    let made_by_others = setup.make(&missing).await?;
    setup.await_leaders(&topics).await?;
    setup.check_settings(&made_by_others).await?;
    Ok(topics)
}

/// Waits for the brokers and finds out how many partitions the topics have there; makes and checks
/// nothing. Topics that a later version brought may be missing. The dedupe window is the one that the topics were
/// made for, or that of `config` where they were made before it was recorded.
pub(super) async fn existing(config: &KafkaConfig) -> Result<(Layout, Duration, Vec<Topic>), LogError> {
    let setup = Setup::new(config)?;
    let metadata = setup.connect().await?;
    let partitions = |spec: &TopicSpec| {
        let name = name_of(config, spec);
        let found = metadata.topics().iter().find(|found| found.name() == name && !found.partitions().is_empty());
        let no_log = || LogError::NoLog { brokers: config.brokers.clone(), topic: name.clone() };
        found.map(|found| u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)).ok_or_else(no_log)
    };
    let layout = Layout { chain_partitions: partitions(&UPSTREAM.spec)?, gateway_slots: partitions(&DELIVERIES.spec)? };
    let there: Vec<Topic> =
        expected(config, layout).into_iter().filter(|topic| found(&metadata, topic).is_some()).collect();
    let mut window = config.dedupe_window;
    for topic in there.iter().filter(|topic| window::is_kept_by(topic.spec)) {
        let described = setup.describe(&[topic]).await?;
        window = described.first().and_then(window::recorded).unwrap_or(window);
    }
    Ok((layout, window, there))
}

fn name_of(config: &KafkaConfig, spec: &TopicSpec) -> String {
    format!("{}{}", config.topic_prefix, spec.name)
}

fn expected(config: &KafkaConfig, layout: Layout) -> Vec<Topic> {
    let topic = |&spec| Topic { spec, name: name_of(config, spec), partitions: layout.partitions(spec) };
    ALL.iter().map(topic).collect()
}

struct Setup<'a> {
    config: &'a KafkaConfig,
    admin: AdminClient<Events>,
    lookup: Arc<BaseConsumer<Versions>>,
    deadline: Instant,
}

impl<'a> Setup<'a> {
    fn new(config: &'a KafkaConfig) -> Result<Self, LogError> {
        let speaker = Speaker { brokers: &config.brokers, doing: "making a client" };
        let admin = config.admin().create_with_context::<_, AdminClient<_>>(Events::default());
        let admin = admin.map_err(|e| speaker.settings_error(e))?;
        let lookup = Versions::listening(config.consumer("setup", None, Isolation::Uncommitted));
        let lookup = lookup.create_with_context(Versions::default());
        let lookup = Arc::new(lookup.map_err(|e| speaker.settings_error(e))?);
        Ok(Self { config, admin, lookup, deadline: Instant::now() + config.timeouts.connect })
    }

    fn speaker(&self, doing: &'static str) -> Speaker<'_> {
        Speaker { brokers: &self.config.brokers, doing }
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.config.timeouts.request))
    }

    async fn metadata(&self) -> Result<Metadata, Failure> {
        let lookup = Arc::clone(&self.lookup);
        let ask = move || {
            let answer = lookup.fetch_metadata(None, CONNECT_TRY);
            let refused = refusal(&lookup);
            answer.map_err(|unanswered| refused.unwrap_or(unanswered))
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Err(KafkaError::Canceled)).map_err(Failure::from)
    }

    /// Waits until a broker answers; says once that none does, and when one does after that.
    async fn connect(&self) -> Result<Metadata, LogError> {
        let began = Instant::now();
        let mut waits = false;
        // Said by the client once, however often it tries.
        let mut trouble = None;
        loop {
            let tried = Instant::now();
            let answer = self.metadata().await;
            let brokers = self.config.brokers.clone();
            if let Some(lacks) = self.lookup.context().too_old() {
                return Err(LogError::BrokerTooOld { brokers, lacks, oldest: OLDEST_RELEASE });
            }
            let error = match answer {
                Ok(metadata) => {
                    if waits {
                        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                        tracing::info!(brokers, waited_ms, "kafka answers");
                    }
                    return Ok(metadata);
                }
                Err(Failure { code, class, message }) => {
                    trouble = self.lookup.context().trouble.take().or(trouble);
                    let message = trouble.clone().unwrap_or(message);
                    self.speaker("connecting").error(Failure { code, class, message })
                }
            };
            let LogError::Unavailable { source, .. } = error else { return Err(error) };
            if Instant::now() >= self.deadline {
                return Err(LogError::NoBroker { brokers, seconds: self.config.timeouts.connect.as_secs(), source });
            }
            if !std::mem::replace(&mut waits, true) {
                let seconds_max = self.config.timeouts.connect.as_secs();
                tracing::warn!(brokers, cause = %source, seconds_max, "no Kafka broker answers yet: waiting for one");
            }
            tokio::time::sleep_until((tried + CONNECT_TRY).min(self.deadline)).await;
        }
    }

    fn check_layout(&self, metadata: &Metadata, topic: &Topic) -> Result<(), LogError> {
        let Some(found) = found(metadata, topic) else { return Ok(()) };
        let partitions = found.partitions().len();
        if partitions != topic.partitions as usize {
            return Err(differs(topic, format!("it has {partitions} partitions, not {}", topic.partitions)));
        }
        let replicas = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        if replicas < usize::from(self.config.replicas) {
            return Err(differs(topic, format!("it has {replicas} replicas, not {}", self.config.replicas)));
        }
        Ok(())
    }

    async fn check_settings(&self, existing: &[&Topic]) -> Result<(), LogError> {
        if existing.is_empty() {
            return Ok(());
        }
        for (topic, found) in existing.iter().zip(self.describe(existing).await?) {
            if window::is_kept_by(topic.spec) {
                self.keep_window(topic, &found).await?;
            }
            for (name, wanted) in self.settings(topic) {
                let value = found.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("unknown");
                if value != wanted {
                    return Err(differs(topic, format!("its {name} is {value}, not {wanted}")));
                }
            }
        }
        Ok(())
    }

    /// The settings that topics have.
    async fn describe(&self, topics: &[&Topic]) -> Result<Vec<ConfigResource>, LogError> {
        let speaker = self.speaker("reading the topics' settings");
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let answers = self.admin.describe_configs(&asked, &self.options()).await.map_err(|e| speaker.error(e))?;
        let found = answers.into_iter().map(|answer| answer.map_err(|code| speaker.error(KafkaError::AdminOp(code))));
        found.collect()
    }

    /// Checks the window that a topic was made for, and records it on one that was made before that was done.
    async fn keep_window(&self, topic: &Topic, found: &ConfigResource) -> Result<(), LogError> {
        let configured = self.config.dedupe_window;
        match window::recorded(found) {
            Some(recorded) if recorded == configured => return Ok(()),
            Some(recorded) => return Err(LogError::WindowDiffers { recorded, configured }),
            None => {}
        }
        let window_ms = window::setting(configured);
        let alter = window::recording(&topic.name, found, &window_ms);
        let speaker = self.speaker("recording the dedupe window");
        let answers = self.admin.alter_configs(&[alter], &self.options()).await.map_err(|e| speaker.error(e))?;
        for answer in answers {
            answer.map_err(|(_, code)| speaker.error(KafkaError::AdminOp(code)))?;
        }
        Ok(())
    }

    /// Makes topics; returns those that another process has made just before.
    async fn make<'t>(&self, missing: &[&'t Topic]) -> Result<Vec<&'t Topic>, LogError> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let speaker = self.speaker("making the topics");
        let window_ms = window::setting(self.config.dedupe_window);
        let window = |topic: &Topic| window::is_kept_by(topic.spec).then(|| (window::SETTING, window_ms.clone()));
        let all = |topic: &&Topic| {
            let settings = self.settings(topic).into_iter().chain(tuning(topic)).chain(window(topic));
            settings.collect::<Vec<_>>()
        };
        let settings: Vec<_> = missing.iter().map(all).collect();
        let wanted: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|(topic, settings)| {
                let replication = TopicReplication::Fixed(i32::from(self.config.replicas));
                let new = NewTopic::new(&topic.name, topic.partitions.cast_signed(), replication);
                settings.iter().fold(new, |new, (name, value)| new.set(name, value.as_str()))
            })
            .collect();
        let options = self.options().operation_timeout(Some(self.config.timeouts.request));
        let answers = self.admin.create_topics(&wanted, &options).await.map_err(|e| speaker.error(e))?;
        let mut made_by_others = Vec::new();
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err((name, Code::TopicAlreadyExists)) => {
                    made_by_others.extend(missing.iter().copied().filter(|topic| topic.name == name));
                }
                Err((_, code)) => return Err(speaker.error(KafkaError::AdminOp(code))),
            }
        }
        let made = missing.len() - made_by_others.len();
        tracing::info!(topics = made, brokers = self.config.brokers, "topics made");
        Ok(made_by_others)
    }

    /// A topic can be used once each partition has a leader that the brokers agree on.
    async fn await_leaders(&self, topics: &[Topic]) -> Result<(), LogError> {
        loop {
            let waiting_for = match self.metadata().await {
                Ok(metadata) => topics.iter().find(|topic| {
                    found(&metadata, topic).is_none_or(|found| found.partitions().iter().any(|p| p.leader() < 0))
                }),
                Err(failure) if Instant::now() >= self.deadline => {
                    return Err(self.speaker("waiting for the topics' leaders").error(failure));
                }
                Err(_) => topics.first(),
            };
            let Some(topic) = waiting_for else { break };
            if Instant::now() >= self.deadline {
                let failure = Failure::from(KafkaError::MetadataFetch(Code::LeaderNotAvailable));
                tracing::warn!(topic = topic.name, "has a partition without a leader");
                return Err(self.speaker("waiting for the topics' leaders").error(failure));
            }
            sleep(LEADERS_LOOK).await;
        }
        // Another process may have made some of them since the first look.
        let metadata = self.metadata().await.map_err(|e| self.speaker("checking the topics").error(e))?;
        topics.iter().try_for_each(|topic| self.check_layout(&metadata, topic))
    }

    /// The settings that a topic's entry in the catalogue asks for.
    fn settings(&self, topic: &Topic) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("min.insync.replicas", self.config.in_sync_min().to_string()),
        ];
        match topic.spec.cleanup {
            Cleanup::Delete(after) => {
                settings.push(("cleanup.policy", "delete".to_owned()));
                settings.push(("retention.ms", after.as_millis().to_string()));
            }
            Cleanup::Compact => settings.push(("cleanup.policy", "compact".to_owned())),
        }
        settings
    }
}

/// Why a call was not answered in time, when the client knows: it hears by itself of brokers that do not
/// let it in. Takes in the log lines that wait, too.
fn refusal(client: &BaseConsumer<Versions>) -> Option<KafkaError> {
    const EVENTS_MAX: usize = 64;
    let events = std::iter::from_fn(|| client.poll(TAKE_IN)).take(EVENTS_MAX).filter_map(Result::err);
    let mut refusals = events.filter(|error| error.rdkafka_error_code().is_some_and(is_refusal));
    refusals.next()
}

/// Settings that a topic is made with, and that an operator may change.
fn tuning(topic: &Topic) -> Vec<(&'static str, String)> {
    match topic.spec.cleanup {
        Cleanup::Delete(_) => Vec::new(),
        // Only closed segments are compacted, and a restart reads whatever is not.
        Cleanup::Compact => {
            vec![("segment.bytes", (32 << 20).to_string()), ("min.cleanable.dirty.ratio", "0.2".to_owned())]
        }
    }
}

fn found<'a>(metadata: &'a Metadata, topic: &Topic) -> Option<&'a rdkafka::metadata::MetadataTopic> {
    let same = |found: &&rdkafka::metadata::MetadataTopic| found.name() == topic.name && !found.partitions().is_empty();
    metadata.topics().iter().find(same)
}

fn differs(topic: &Topic, difference: String) -> LogError {
    LogError::TopicDiffers { topic: topic.name.clone(), difference }
}
