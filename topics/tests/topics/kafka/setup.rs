//! Making and checking topics; what is on them that GoChat did not write; brokers that are away.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::Instant;
use topics::catalogue::{ALL, DEDUPE_WINDOW, Layout, UPSTREAM};
use topics::headers::TRACE_HEADER;
use topics::kafka::{KafkaConfig, KafkaLog, Timeouts};
use topics::log::{Class, LogError};

use super::{brokers, config, kafka};
use crate::contract::Harness;
use crate::contract::drive::{WAIT_MAX, append, read_all, text};

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

async fn setting(topic: &str, name: &str) -> String {
    let asked = [ResourceSpecifier::Topic(topic)];
    let answers = admin().describe_configs(&asked, &AdminOptions::new()).await.unwrap();
    answers[0].as_ref().unwrap().get(name).unwrap().value.clone().unwrap()
}

#[tokio::test]
async fn topics_are_made_as_the_catalogue_has_them() {
    let harness = kafka().await;
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    for spec in ALL {
        let name = format!("{}{}", harness.config.topic_prefix, spec.name);
        let made = metadata.topics().iter().find(|topic| topic.name() == name).expect("it was made");
        assert_eq!(made.partitions().len(), harness.log().layout().partitions(spec) as usize, "{name}");
    }
    let named = |name: &str| format!("{}{name}", harness.config.topic_prefix);
    let week = (7 * 24 * 3_600 * 1_000).to_string();
    assert_eq!(setting(&named("upstream-messages"), "retention.ms").await, week);
    assert_eq!(setting(&named("upstream-messages"), "cleanup.policy").await, "delete");
    assert_eq!(setting(&named("upstream-messages"), "message.timestamp.type").await, "LogAppendTime");
    assert_eq!(setting(&named("conversation-heads"), "cleanup.policy").await, "compact");
}

#[tokio::test]
async fn a_topic_with_other_partitions_is_refused_and_said_how() {
    let made = kafka().await.config;
    let layout = Layout { chain_partitions: 5, ..made.layout };
    let answer = KafkaLog::connect(KafkaConfig { layout, ..made }).await;
    let Err(LogError::TopicDiffers { difference, .. }) = &answer else { panic!("{answer:?}") };
    assert_eq!(difference, "it has 4 partitions, not 5");
}

#[tokio::test]
async fn topics_keep_the_dedupe_window_that_they_were_made_for() {
    let made = KafkaConfig { dedupe_window: Duration::from_secs(2), ..config() };
    drop(KafkaLog::connect(made.clone()).await.unwrap());
    let other = KafkaConfig { dedupe_window: Duration::from_secs(600), ..made.clone() };
    let answer = KafkaLog::connect(other.clone()).await;
    let Err(LogError::WindowDiffers { recorded, configured }) = answer else { panic!("{answer:?}") };
    assert_eq!((recorded, configured), (made.dedupe_window, other.dedupe_window));
    let attached = KafkaLog::attach(other).await.unwrap();
    assert_eq!(attached.dedupe_window(), made.dedupe_window, "tools judge by what was recorded");
    KafkaLog::connect(made).await.unwrap();
}

#[tokio::test]
async fn the_window_is_recorded_on_topics_that_were_made_before_it_was() {
    let made = config();
    drop(KafkaLog::connect(made.clone()).await.unwrap());
    let topic = format!("{}{}", made.topic_prefix, DEDUPE_WINDOW.spec.name);
    let (in_sync, kept) = (setting(&topic, "min.insync.replicas").await, setting(&topic, "retention.ms").await);
    // As a version that knew no window left it; the brokers' own default is in force again.
    let before = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("min.insync.replicas", &in_sync)
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", "delete")
        .set("retention.ms", &kept);
    let altered = admin().alter_configs(&[before], &AdminOptions::new()).await.unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
    // The broker that is asked hears of it a moment after the one that was told.
    let deadline = Instant::now() + WAIT_MAX;
    while setting(&topic, "delete.retention.ms").await == "600000" && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    let first = KafkaConfig { dedupe_window: Duration::from_secs(2), ..made.clone() };
    drop(KafkaLog::connect(first).await.unwrap());
    assert_eq!(setting(&topic, "retention.ms").await, kept, "nothing else has changed");
    let answer = KafkaLog::connect(made).await;
    assert!(matches!(answer, Err(LogError::WindowDiffers { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_topic_with_other_settings_is_refused_and_said_how() {
    let config = config();
    let name = format!("{}{}", config.topic_prefix, UPSTREAM.spec.name);
    let in_sync = config.in_sync_min().to_string();
    let other = NewTopic::new(&name, 4, TopicReplication::Fixed(i32::from(config.replicas)))
        .set("min.insync.replicas", &in_sync)
        .set("message.timestamp.type", "LogAppendTime")
        .set("retention.ms", "60000");
    let made = admin().create_topics([&other], &AdminOptions::new()).await.unwrap();
    assert!(made[0].is_ok(), "{made:?}");
    let answer = KafkaLog::connect(config).await;
    let Err(LogError::TopicDiffers { topic, difference }) = &answer else { panic!("{answer:?}") };
    assert_eq!((topic, difference.as_str()), (&name, "its retention.ms is 60000, not 604800000"));
}

#[tokio::test]
async fn brokers_that_are_away_are_waited_for_up_to_a_limit() {
    // Nothing listens on the discard port of loopback.
    let timeouts = Timeouts { connect: Duration::from_secs(1), ..Timeouts::default() };
    let answer = KafkaLog::connect(KafkaConfig { brokers: "127.0.0.1:9".into(), timeouts, ..config() }).await;
    let Err(error @ LogError::NoBroker { seconds: 1, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn records_of_other_programs_are_read_as_they_are() {
    let harness = kafka().await;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let topic = format!("{}{}", harness.config.topic_prefix, UPSTREAM.spec.name);
    let headers = OwnedHeaders::new()
        .insert(Header { key: TRACE_HEADER, value: Some("not a traceparent") })
        .insert(Header { key: "empty", value: None::<&[u8]> });
    let bare: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0).headers(headers);
    producer.send(bare).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    append(&harness.log(), &UPSTREAM.spec, 0, &["ours"]).await;
    let read = read_all(&harness.log(), &UPSTREAM.spec, 0).await;
    assert_eq!(read.iter().map(text).collect::<Vec<_>>(), ["", "ours"]);
    assert!(read[0].key.is_empty() && read[0].headers.trace.is_none());
    let other: Vec<_> = read[0].headers.other.iter().map(|(name, value)| (&**name, &value[..])).collect();
    assert_eq!(other, [(TRACE_HEADER, &b"not a traceparent"[..]), ("empty", &b""[..])]);
}
