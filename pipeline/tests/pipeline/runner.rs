//! What the runner does around a stage, shown with a stage that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pipeline::runner::{self, Changelog, InputTopic, RunError, RunnerConfig, TaskContext, WiringOf, same_partition};
use schemas::avro::Record;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{Head, Upstream};
use stages::stage::{Context, Input, Output, Outputs, Stage, StageError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{ACCEPTED, DEAD_LETTERS, HEADS, Layout, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::headers::{Headers, Hop, HopTimes};
use topics::log::{Incoming, Log, Outgoing, StartAt};

use crate::by_hand::set_positions;

const NOW: i64 = 1_800_000_000_000;
const HOP: Hop = Hop::new(0, Counting::NAME);
const WAIT: Duration = Duration::from_secs(20);

/// Passes records on and keeps the count of each partition in its changelog.
struct Counting {
    counts: std::collections::HashMap<u32, i64>,
    pending: Vec<(u32, i64)>,
    failures_left: Arc<AtomicU32>,
}

impl Stage for Counting {
    type In = Upstream;
    type Out = Upstream;
    type Change = Head;

    const NAME: &str = "counting";

    fn assigned(&mut self, partition: u32) {
        self.counts.insert(partition, 0);
    }

    fn restore(&mut self, partition: u32, changes: Vec<Head>) {
        if let Some(last) = changes.last() {
            self.counts.insert(partition, last.ordinal);
        }
    }

    fn revoked(&mut self, partition: u32) {
        self.counts.remove(&partition);
    }

    async fn prepare(&mut self, _: &[Input<Upstream>]) -> Result<(), StageError> {
        let fails = self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match fails {
            Ok(_) => Err(StageError::Retry { what: "away".into(), source: None }),
            Err(_) => Ok(()),
        }
    }

    fn process(
        &mut self,
        batch: Vec<Input<Upstream>>,
        out: &mut Outputs<Upstream, Head>,
        _: &Context,
    ) -> Result<(), StageError> {
        for input in batch {
            if &*input.value.content == "fatal" {
                return Err(StageError::Fatal { what: "asked to".into(), source: None });
            }
            let partition = input.source.partition;
            match self.pending.iter_mut().find(|(at, _)| *at == partition) {
                Some((_, count)) => *count += 1,
                None => self.pending.push((partition, self.counts[&partition] + 1)),
            }
            out.records.push(Output { source: input.source, headers: input.headers, value: input.value });
        }
        out.changes.extend(self.pending.iter().map(|&(partition, count)| (partition, head(count))));
        Ok(())
    }

    fn committed(&mut self) {
        self.counts.extend(self.pending.drain(..));
    }

    fn aborted(&mut self) {
        self.pending.clear();
    }
}

fn head(count: i64) -> Head {
    Head { conversation_id: ConversationId::World, seq_id: Seq(count), ordinal: count, message_id: MessageId(1) }
}

/// A log in a directory of its own, and a runner over it.
struct Bench {
    _dir: TempDir,
    log: Arc<dyn Log>,
    failures_left: Arc<AtomicU32>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { chain_partitions: 2, gateway_slots: 1 };
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"), layout), Clock::manual(NOW)).unwrap();
        Self { _dir: dir, log, failures_left: Arc::default(), stop: CancellationToken::new() }
    }

    /// Each record comes out so many times.
    fn wiring(copies: usize) -> WiringOf<Counting> {
        let (input, emit) = (InputTopic::of(&UPSTREAM), same_partition(&ACCEPTED));
        let copied = move |output: &_, encoder: &mut _| (0..copies).try_for_each(|_| emit(output, encoder));
        WiringOf::<Counting>::new(Counting::NAME, input, HOP, Box::new(copied), Changelog::by_key(&HEADS))
    }

    /// Starts the runner; the handle gives its outcome once it is stopped.
    fn run(&self) -> tokio::task::JoinHandle<Result<(), RunError>> {
        self.run_copying(1)
    }

    fn run_copying(&self, copies: usize) -> tokio::task::JoinHandle<Result<(), RunError>> {
        let config = RunnerConfig { retry_wait_min: Duration::from_millis(1), ..RunnerConfig::default() };
        let (log, clock) = (self.log.clone(), Clock::manual(NOW));
        let context = TaskContext { log, clock, config, instance: "one".into() };
        let (failures_left, stop) = (self.failures_left.clone(), self.stop.clone());
        tokio::spawn(async move {
            let make = || Counting {
                counts: std::collections::HashMap::new(),
                pending: vec![],
                failures_left: failures_left.clone(),
            };
            runner::run(make, &Self::wiring(copies), &context, &stop).await
        })
    }

    async fn say(&self, contents: &[&str]) {
        let mut encoder = Encoder::default();
        for content in contents {
            let headers = Headers { hops: Some(HopTimes::starting(NOW - 5)), ..Headers::default() };
            encoder.put_at(&UPSTREAM, 0, &ConversationId::World, &message(content), headers).unwrap();
        }
        self.log.append(encoder.finish()).await.unwrap();
    }

    /// The newest count in the changelog of partition 0.
    async fn last_count(&self) -> i64 {
        let end = self.log.bounds(&HEADS.spec, 0).await.unwrap().end;
        let mut reader = self.log.read(&HEADS.spec, &[(0, StartAt::Earliest)]).await.unwrap();
        loop {
            let batch = reader.next_within(WAIT).await.unwrap().expect("the changelog has a record");
            let last = batch.records.last().unwrap();
            if last.offset + 1 == end {
                return Head::decode(&last.value).unwrap().ordinal;
            }
        }
    }

    /// The first `count` records of partition 0 of a topic, waiting for them.
    async fn records(&self, topic: &'static TopicSpec, count: usize) -> Vec<Incoming> {
        let mut reader = self.log.read(topic, &[(0, StartAt::Earliest)]).await.unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            let batch = reader.next_within(WAIT).await.unwrap().expect("the records come in time");
            records.extend(batch.records);
        }
        records
    }
}

fn message(content: &str) -> Upstream {
    Upstream {
        conversation_id: ConversationId::World,
        sender_id: UserId(1),
        client_msg_id: content.into(),
        kind: Kind::Text,
        content: content.into(),
        target_seq: None,
        remove: false,
    }
}

fn contents(records: &[Incoming]) -> Vec<String> {
    records.iter().map(|record| Upstream::decode(&record.value).unwrap().content.into()).collect()
}

#[tokio::test]
async fn state_outputs_and_positions_survive_a_restart_together() {
    let bench = Bench::new();
    bench.say(&["a", "b"]).await;
    let mut first = Bench { stop: bench.stop.child_token(), log: bench.log.clone(), ..Bench::new() };
    first.failures_left = bench.failures_left.clone();
    let running = first.run();
    first.records(&ACCEPTED.spec, 2).await;
    first.stop.cancel();
    running.await.unwrap().unwrap();

    bench.say(&["c"]).await;
    let running = bench.run();
    assert_eq!(contents(&bench.records(&ACCEPTED.spec, 3).await), ["a", "b", "c"]);
    assert_eq!(bench.last_count().await, 3, "the count goes on where it was");
    bench.stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_record_are_set_aside_in_the_same_commit_and_the_rest_goes_on() {
    let bench = Bench::new();
    bench.say(&["a"]).await;
    let garbage = Outgoing {
        topic: &UPSTREAM.spec,
        partition: Some(0),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"\xC3\x01not a record"),
        headers: Headers::default(),
    };
    bench.log.append(vec![garbage.clone()]).await.unwrap();
    bench.say(&["b"]).await;
    let running = bench.run();
    assert_eq!(contents(&bench.records(&ACCEPTED.spec, 2).await), ["a", "b"]);
    let dead = bench.records(&DEAD_LETTERS.spec, 1).await;
    assert_eq!((&dead[0].key, &dead[0].value), (&garbage.key, &garbage.value));
    let said = |name: &str| {
        let header = dead[0].headers.other.iter().find(|(had, _)| &**had == name);
        String::from_utf8(header.expect("the header is there").1.to_vec()).unwrap()
    };
    assert_eq!((said("source-topic"), said("source-offset")), (UPSTREAM.spec.name.to_owned(), "1".to_owned()));
    assert!(said("error").contains("fingerprint"), "{}", said("error"));
    assert_eq!((said("error-class"), said("tries")), ("unknown-schema".to_owned(), "1".to_owned()));
    bench.stop.cancel();
    running.await.unwrap().unwrap();
    let lag = bench.log.lag("counting", &UPSTREAM.spec).await.unwrap();
    assert!(lag.iter().all(|partition| partition.records == 0), "{lag:?}");
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_changes_nothing() {
    let bench = Bench::new();
    bench.failures_left.store(3, Ordering::SeqCst);
    bench.say(&["a", "b"]).await;
    let running = bench.run();
    let records = bench.records(&ACCEPTED.spec, 2).await;
    assert_eq!(contents(&records), ["a", "b"]);
    assert_eq!(records[0].headers.hops.unwrap().after(HOP), Some(5), "the hop is stamped");
    bench.stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.failures_left.load(Ordering::SeqCst), 0);
    assert_eq!(bench.log.bounds(&ACCEPTED.spec, 0).await.unwrap().end, 2);
}

#[tokio::test]
async fn a_batch_whose_outputs_are_too_many_for_one_commit_is_committed_in_parts() {
    const RECORDS: usize = 60;
    const COPIES: usize = 64;
    let bench = Bench::new();
    // 61 MiB of outputs, of which the log takes 16 at once.
    let long: Vec<String> = (0..RECORDS).map(|n| format!("{n:0>16384}")).collect();
    bench.say(&long.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let running = bench.run_copying(COPIES);
    let records = bench.records(&ACCEPTED.spec, RECORDS * COPIES).await;
    let expected: Vec<_> = long.iter().flat_map(|content| std::iter::repeat_n(content.clone(), COPIES)).collect();
    assert!(contents(&records) == expected, "each comes as often as it should, in order");
    bench.stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.log.bounds(&ACCEPTED.spec, 0).await.unwrap().end as usize, RECORDS * COPIES);
    let lag = bench.log.lag("counting", &UPSTREAM.spec).await.unwrap();
    assert!(lag.iter().all(|partition| partition.records == 0), "{lag:?}");
    let changes = bench.log.bounds(&HEADS.spec, 0).await.unwrap().end;
    assert!(changes >= 4, "{changes} commits");
    assert_eq!(bench.last_count().await, RECORDS as i64);
}

#[tokio::test]
async fn a_fatal_failure_stops_the_task_before_anything_is_committed() {
    let bench = Bench::new();
    bench.say(&["a", "fatal"]).await;
    let outcome = tokio::time::timeout(WAIT, bench.run()).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(RunError::Stage { stage: "counting", .. })), "{outcome:?}");
    assert_eq!(bench.log.bounds(&ACCEPTED.spec, 0).await.unwrap().end, 0);
}

#[tokio::test]
async fn a_group_without_a_position_but_with_state_refuses_to_start_over() {
    let bench = Bench::new();
    bench.say(&["a"]).await;
    let mut encoder = Encoder::default();
    encoder.put_at(&HEADS, 0, &ConversationId::World, &head(9), Headers::default()).unwrap();
    bench.log.append(encoder.finish()).await.unwrap();
    let outcome = tokio::time::timeout(WAIT, bench.run()).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(RunError::PositionLost { partition: 0, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_position_that_was_set_back_makes_nothing_twice() {
    let bench = Bench::new();
    bench.say(&["a", "b"]).await;
    let running = bench.run();
    bench.records(&ACCEPTED.spec, 2).await;
    bench.stop.cancel();
    running.await.unwrap().unwrap();

    set_positions(&*bench.log, "counting", &UPSTREAM.spec, |bounds| bounds.start).await;
    let bench = Bench { stop: CancellationToken::new(), ..bench };
    let running = bench.run();
    bench.say(&["c"]).await;
    assert_eq!(contents(&bench.records(&ACCEPTED.spec, 3).await), ["a", "b", "c"]);
    bench.stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_damaged_changelog_stops_the_task() {
    let bench = Bench::new();
    let garbage = Outgoing {
        topic: &HEADS.spec,
        partition: Some(0),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"garbage"),
        headers: Headers::default(),
    };
    bench.log.append(vec![garbage]).await.unwrap();
    let outcome = tokio::time::timeout(WAIT, bench.run()).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(RunError::Changelog { offset: 0, .. })), "{outcome:?}");
}
