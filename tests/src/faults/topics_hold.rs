//! What the topics hold, read when the installation has stopped: every identity once and in order, the
//! same as everywhere else, and nothing set aside.

use std::sync::Arc;
use std::time::Duration;

use schemas::avro::Record;
use schemas::records::Sequenced;
use stages::invariants::{Held, Key};
use topics::catalogue::{DEAD_LETTERS, Layout, PERSISTED, SEQUENCED, TopicSpec, UPSTREAM};
use topics::embedded::EmbeddedLog;
use topics::kafka::{KafkaConfig, KafkaLog};
use topics::log::{Incoming, Log, LogError, StartAt};

use super::auditor;
use super::books::Books;
use super::stand::{CHAIN_PARTITIONS, GATEWAY_SLOTS, Stand};

/// How long a read waits for more before it looks whether the end is reached.
const READ_WAIT: Duration = Duration::from_secs(1);
/// Reads in a row that may bring nothing, while brokers end a transaction that was left open.
const EMPTY_READS_MAX: u32 = 30;

/// Reads the topics of an installation into the books.
pub async fn read(stand: &Stand, books: &mut Books) {
    let read = async {
        let log = open(stand).await?;
        read_log(log.as_ref(), stand.fused, books).await
    };
    if let Err(e) = read.await {
        books.failures.push(format!("the topics can't be read: {e}"));
    }
    if let Err(said) = auditor::check(stand.data(), stand.config()).await {
        books.failures.push(format!("gochat check: {said}"));
    }
}

/// Reads the topics of a log into the books. Where persist and fan-out share a task (`fused`), nothing is in
/// `persisted-messages`.
///
/// # Errors
/// When one can't be read to its end.
pub async fn read_log(log: &dyn Log, fused: bool, books: &mut Books) -> Result<(), LogError> {
    let persisted = (!fused).then_some((&PERSISTED.spec, true));
    for (topic, repeats) in [(&SEQUENCED.spec, false)].into_iter().chain(persisted) {
        each(log, topic, |record| match Sequenced::decode(&record.value) {
            Ok(message) if message.seq_id.0 > 0 => books.in_topic(topic.name, &held(&message), repeats),
            Ok(_without_seq) => {}
            Err(e) => books.failures.push(format!("{} has a record that is none: {e}", topic.name)),
        })
        .await?;
        books.topic_ends(topic.name);
    }
    // Its bytes: what it holds was judged by what became of it.
    each(log, &UPSTREAM.spec, |_| {}).await?;
    let mut dead = 0;
    each(log, &DEAD_LETTERS.spec, |_| dead += 1).await?;
    if dead > 0 {
        books.failures.push(format!("{dead} dead letters, of messages that were acknowledged"));
    }
    Ok(())
}

async fn open(stand: &Stand) -> Result<Arc<dyn Log>, LogError> {
    match &stand.brokers {
        None => Ok(EmbeddedLog::open_read_only(stand.data().join("log"))?),
        Some(brokers) => {
            let layout = Layout { chain_partitions: CHAIN_PARTITIONS, gateway_slots: GATEWAY_SLOTS };
            let config = KafkaConfig { replicas: brokers.nodes(), ..KafkaConfig::new(brokers.address(), layout) };
            Ok(KafkaLog::connect(config).await?)
        }
    }
}

/// Every record of a topic, partition by partition, in order.
///
/// # Errors
/// When it can't be read to its end.
pub async fn each(log: &dyn Log, topic: &'static TopicSpec, mut visit: impl FnMut(&Incoming)) -> Result<(), LogError> {
    for partition in 0..log.layout().partitions(topic) {
        let end = log.bounds(topic, partition).await?.end;
        let mut reader = log.read(topic, &[(partition, StartAt::Earliest)]).await?;
        let mut empty = 0;
        while reader.position(partition).is_some_and(|position| position < end) && empty < EMPTY_READS_MAX {
            match reader.next_within(READ_WAIT).await? {
                Some(batch) => batch.records.iter().filter(|record| record.offset < end).for_each(&mut visit),
                None => empty += 1,
            }
        }
    }
    Ok(())
}

fn held(message: &Sequenced) -> Held {
    Held {
        key: Key {
            conversation: message.conversation_id,
            sender: message.sender_id,
            client_msg_id: message.client_msg_id.clone(),
        },
        seq: message.seq_id,
        message_id: message.message_id,
        time_ms: message.created_at,
    }
}
