//! Transactions: what others must not see, and what survives whichever owner dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use topics::catalogue::{ACCEPTED, HEADS, TopicSpec, UPSTREAM};
use topics::kafka::{KafkaConfig, KafkaLog, Timeouts};
use topics::log::{Class, Commit, Event, Log, LogError, Member, MemberSpec, Outgoing, PartitionBatch, StartAt};

use super::{OnKafka, brokers, config, kafka};
use crate::contract::drive::{
    WAIT_MAX, append, join_and_start, member_spec, next_records, placed, positions, read_all, text, values,
};
use crate::contract::{CHAIN_PARTITIONS, Harness};

const ALL: usize = CHAIN_PARTITIONS as usize;

/// A transactional producer that is in the hands of the test: what a member has inside.
fn stranger(harness: &OnKafka, name: &str, timeout: Duration) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", format!("{}{name}", harness.config.group_prefix))
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        .create()
        .unwrap();
    producer.init_transactions(WAIT_MAX).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

/// Writes a record of the transaction, and waits until the broker has it.
fn write(harness: &OnKafka, producer: &BaseProducer, topic: &TopicSpec, value: &str) {
    let topic = format!("{}{}", harness.config.topic_prefix, topic.name);
    producer.send(BaseRecord::to(&topic).partition(1).key("key").payload(value)).map_err(|(error, _)| error).unwrap();
    producer.flush(WAIT_MAX).unwrap();
}

/// What a stage restores from its changelog: everything up to the end as it is now.
async fn restored(log: &Arc<dyn Log>, topic: &'static TopicSpec) -> Vec<String> {
    let end = log.bounds(topic, 1).await.unwrap().end;
    let mut reader = log.read(topic, &[(1, StartAt::Earliest)]).await.unwrap();
    let mut seen = Vec::new();
    let read = async {
        while reader.position(1).unwrap() < end {
            let batch = reader.next_within(Duration::from_secs(1)).await.unwrap();
            seen.extend(batch.iter().flat_map(|batch| batch.records.iter().map(text)));
        }
    };
    timeout(WAIT_MAX, read).await.expect("the reader never came to the end");
    seen
}

#[tokio::test]
async fn aborted_records_are_never_seen_and_readers_pass_them() {
    let harness = kafka().await;
    let log = harness.log();
    let producer = stranger(&harness, "aborts", Duration::from_secs(10));
    write(&harness, &producer, &ACCEPTED.spec, "aborted");
    write(&harness, &producer, &ACCEPTED.spec, "aborted too");
    producer.abort_transaction(WAIT_MAX).unwrap();
    assert!(log.bounds(&ACCEPTED.spec, 1).await.unwrap().end >= 2);
    assert_eq!(restored(&log, &ACCEPTED.spec).await, [""; 0]);
    append(&log, &ACCEPTED.spec, 1, &["seen"]).await;
    assert_eq!(restored(&log, &ACCEPTED.spec).await, ["seen"]);
}

#[tokio::test]
async fn a_reader_waits_for_an_open_transaction_and_keeps_the_order() {
    let harness = kafka().await;
    let log = harness.log();
    let producer = stranger(&harness, "waits", Duration::from_secs(60));
    write(&harness, &producer, &ACCEPTED.spec, "first");
    append(&log, &ACCEPTED.spec, 1, &["second"]).await;
    assert_eq!(log.bounds(&ACCEPTED.spec, 1).await.unwrap().end, 2, "the end counts what is open");
    let mut reader = log.read(&ACCEPTED.spec, &[(1, StartAt::Earliest)]).await.unwrap();
    assert!(reader.next_within(Duration::from_millis(200)).await.unwrap().is_none());
    assert_eq!(reader.position(1), Some(0));
    producer.commit_transaction(WAIT_MAX).unwrap();
    assert_eq!(restored(&log, &ACCEPTED.spec).await, ["first", "second"]);
}

/// The schedule by which a takeover could reuse a sequence: the first owner hangs with a transaction
/// open, the second commits beyond it and dies, the third must see what the second did, and no more.
#[tokio::test]
async fn a_third_owner_restores_all_of_the_second_and_nothing_of_the_first() {
    let harness = kafka().await;
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a"]).await;
    let first = stranger(&harness, "first", Duration::from_secs(3));
    write(&harness, &first, &HEADS.spec, "of the first");

    let mut second = join_and_start(&log, member_spec(&UPSTREAM.spec, "second"), ALL).await;
    let batches = next_records(&mut second, 1).await;
    let outputs = vec![placed(&ACCEPTED.spec, 1, "a"), placed(&HEADS.spec, 1, "of the second")];
    second.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
    drop(second);

    let mut third = log.join(member_spec(&UPSTREAM.spec, "third")).await.unwrap();
    let mut committed = BTreeMap::new();
    while committed.len() < ALL {
        match timeout(WAIT_MAX, third.next()).await.expect("the third got nothing").unwrap() {
            Event::Assigned(assigned) => committed.extend(assigned.iter().map(|one| (one.partition, one.committed))),
            other => panic!("{other:?} came before the partitions"),
        }
    }
    assert_eq!(committed[&1], Some(batches[0].next_offset));
    assert_eq!(restored(&log, &HEADS.spec).await, ["of the second"]);
    let late = first.commit_transaction(Duration::from_secs(10));
    assert!(late.is_err(), "the brokers had ended the transaction of the first");
    assert_eq!(restored(&log, &HEADS.spec).await, ["of the second"]);
}

/// A coordinator may say for ever that a transaction is about to commit positions, also where there is none.
#[tokio::test]
async fn positions_that_do_not_settle_are_not_waited_for_longer_than_a_transaction_may_last() {
    let second = Duration::from_secs(1);
    let timeouts =
        Timeouts { request: 2 * second, delivery: 4 * second, transaction: 5 * second, ..Timeouts::default() };
    let config = KafkaConfig { timeouts, ..config() };
    let log: Arc<dyn Log> = KafkaLog::connect(config.clone()).await.unwrap();
    let harness = OnKafka { config, log: Arc::clone(&log) };
    append(&log, &UPSTREAM.spec, 1, &["a", "b"]).await;
    let mut first =
        join_and_start(&log, MemberSpec { batch_records_max: 1, ..member_spec(&UPSTREAM.spec, "first") }, ALL).await;
    let batches = next_records(&mut first, 1).await;
    first.commit(Commit { outputs: Vec::new(), positions: positions(&batches) }).await.unwrap();
    first.leave().await.unwrap();

    // It lasts longer than any of this installation may.
    let hanging = stranger(&harness, "hangs", 100 * second);
    let group = format!("{}workers", harness.config.group_prefix);
    let of_group: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", &group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    let topic = format!("{}{}", harness.config.topic_prefix, UPSTREAM.spec.name);
    offsets.add_partition_offset(&topic, 1, Offset::Offset(2)).unwrap();
    let as_whom = of_group.group_metadata().unwrap();
    hanging.send_offsets_to_transaction(&offsets, &as_whom, WAIT_MAX).unwrap();

    let started = Instant::now();
    let mut next = join_and_start(&log, member_spec(&UPSTREAM.spec, "next"), ALL).await;
    let waited = started.elapsed();
    assert!(waited >= 15 * second, "a transaction may last for 5 s, and brokers look after 10 s: it waited {waited:?}");
    let batches = next_records(&mut next, 1).await;
    assert_eq!(text(&batches[0].records[0]), "b");
    next.commit(Commit { outputs: Vec::new(), positions: positions(&batches) }).await.unwrap();
    hanging.abort_transaction(WAIT_MAX).unwrap();
    assert_eq!(log.lag("workers", &UPSTREAM.spec).await.unwrap()[1].records, 0);
}

#[tokio::test]
async fn a_member_that_is_not_transactional_delivers_outputs_and_then_its_position() {
    let harness = kafka().await;
    let log = harness.log();
    append(&log, &UPSTREAM.spec, 1, &["a", "b"]).await;
    let spec = MemberSpec { transactional: false, ..member_spec(&UPSTREAM.spec, "plain") };
    let mut member = join_and_start(&log, spec.clone(), ALL).await;
    let batches = next_records(&mut member, 2).await;
    let outputs = vec![placed(&ACCEPTED.spec, 1, "a"), placed(&ACCEPTED.spec, 1, "b")];
    member.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
    assert_eq!(values(&log, &ACCEPTED.spec, 1).await, ["a", "b"]);
    assert_eq!(log.lag("workers", &UPSTREAM.spec).await.unwrap()[1].records, 0);
    // The next of its name goes on there, and the former one is refused.
    let mut heir = join_and_start(&log, spec, ALL).await;
    append(&log, &UPSTREAM.spec, 1, &["c"]).await;
    assert_eq!(text(&next_records(&mut heir, 1).await[0].records[0]), "c");
    let late = member.commit(Commit { outputs: Vec::new(), positions: positions(&batches) }).await;
    assert!(matches!(late, Err(LogError::Fenced { .. } | LogError::Replaced { .. })), "{late:?}");
}

#[tokio::test]
async fn a_commit_takes_no_polling_interval() {
    let harness = kafka().await;
    let log = harness.log();
    let mut member = join_and_start(&log, member_spec(&UPSTREAM.spec, "quick"), ALL).await;
    let mut taken = Vec::new();
    for n in 0..30 {
        append(&log, &UPSTREAM.spec, 1, &[&n.to_string()]).await;
        let batches = next_records(&mut member, 1).await;
        let started = Instant::now();
        let outputs = vec![placed(&ACCEPTED.spec, 1, "x"), placed(&HEADS.spec, 1, "x")];
        member.commit(Commit { outputs, positions: positions(&batches) }).await.unwrap();
        taken.push(started.elapsed());
    }
    // Others may use the machine: what counts is that not every commit has such an interval in it.
    let quickest = taken.iter().min().copied().unwrap();
    assert!(quickest < Duration::from_millis(90), "the quickest commit took {quickest:?}");
}

/// A stage that copies its input, and works batches again as a runner does.
pub async fn copy(log: Arc<dyn Log>, spec: MemberSpec) {
    loop {
        let ended = match log.join(spec.clone()).await {
            Ok(member) => copy_on(&log, member, BTreeSet::new()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            assert!(matches!(error.class(), Class::Rebuild | Class::Retry), "{error}");
        }
    }
}

/// Goes on as a member that has these partitions.
pub async fn copy_on(
    log: &Arc<dyn Log>,
    mut member: Box<dyn Member>,
    mut owned: BTreeSet<u32>,
) -> Result<(), LogError> {
    loop {
        match member.next().await? {
            Event::Assigned(assigned) => {
                for one in assigned {
                    let start = log.bounds(&UPSTREAM.spec, one.partition).await?.start;
                    member.start(one.partition, one.committed.unwrap_or(start)).await?;
                    owned.insert(one.partition);
                }
            }
            Event::Revoked(gone) | Event::Lost(gone) => owned.retain(|partition| !gone.contains(partition)),
            Event::Batch(batches) => {
                let commit = Commit { outputs: copies(&batches), positions: positions(&batches) };
                match member.commit(commit).await {
                    Ok(()) => {}
                    Err(error) if matches!(error.class(), Class::Abort | Class::Retry) => {
                        rewind(log, member.as_mut(), &owned).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Starts partitions again at their committed positions.
pub async fn rewind(log: &Arc<dyn Log>, member: &mut dyn Member, owned: &BTreeSet<u32>) -> Result<(), LogError> {
    for &partition in owned {
        let start = log.bounds(&UPSTREAM.spec, partition).await?.start;
        let committed = member.committed(partition).await?;
        member.start(partition, committed.unwrap_or(start)).await?;
    }
    Ok(())
}

/// A copy of each record, for its partition.
pub fn copies(batches: &[PartitionBatch]) -> Vec<Outgoing> {
    let of = |batch: &PartitionBatch| {
        let copy = |record| placed(&ACCEPTED.spec, batch.partition, &text(record));
        batch.records.iter().map(copy).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_copy_each_record_exactly_once() {
    const ROUNDS: usize = 60;
    let harness = kafka().await;
    let log = harness.log();
    let worker = |name: &str| -> JoinHandle<()> {
        let spec = MemberSpec { batch_records_max: 20, ..member_spec(&UPSTREAM.spec, name) };
        tokio::spawn(copy(Arc::clone(&log), spec))
    };
    let mut expected = vec![Vec::new(); ALL];
    let mut workers = BTreeMap::from([("one", worker("one"))]);
    for round in 0..ROUNDS {
        for partition in 0..CHAIN_PARTITIONS {
            let written: Vec<String> = (0..20).map(|n| format!("{partition}/{round}/{n}")).collect();
            append(&log, &UPSTREAM.spec, partition, &written.iter().map(String::as_str).collect::<Vec<_>>()).await;
            expected[partition as usize].extend(written);
        }
        match round {
            10 => drop(workers.insert("two", worker("two"))),
            20 => drop(workers.insert("three", worker("three"))),
            // Dies in whatever it does, and comes back under its name.
            30 => {
                workers["two"].abort();
                workers.insert("two", worker("two"));
            }
            // Dies for good: its partitions go on when its session has ended.
            40 => workers["three"].abort(),
            _ => {}
        }
    }
    let done = async {
        for partition in 0..CHAIN_PARTITIONS {
            while read_all(&log, &ACCEPTED.spec, partition).await.len() < expected[partition as usize].len() {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(Duration::from_secs(50), done).await.expect("records are missing");
    workers.values().for_each(JoinHandle::abort);
    for partition in 0..CHAIN_PARTITIONS {
        assert_eq!(values(&log, &ACCEPTED.spec, partition).await, expected[partition as usize]);
    }
}
