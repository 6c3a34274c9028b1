//! The chain as it is wired, over the embedded log and SQLite: what goes in at upstream, often twice,
//! comes out at downstream once and in order, fused or not, also when the tasks stop in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipeline::runner::{RunError, RunnerConfig, TaskContext};
use pipeline::tasks::StageTasks;
use pipeline::topology::{self, Fuse, Parts};
use schemas::avro::{PresenceEvent, Record};
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::{Delivery, Heartbeat, Presence, Sequenced, Upstream};
use stages::membership::Membership;
use stages::presence::SharedPresence;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{
    ACCEPTED, DEAD_LETTERS, DELIVERIES, GROUP_TASKS, Keyed, Layout, PERSISTED, Raw, SEQUENCED, TopicSpec, UPSTREAM,
};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::headers::Headers;
use topics::log::{Log, Outgoing, StartAt};

const WAIT: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 4;
const ANN: UserId = UserId(1);
const LARGE: GroupId = GroupId(9);
const LARGE_MEMBERS: i64 = 1_200;

struct Installation {
    dir: TempDir,
    log: Arc<EmbeddedLog>,
    presence: SharedPresence,
}

/// Tasks at work, until they are stopped.
struct Running {
    tasks: StageTasks,
    stop: CancellationToken,
}

impl Installation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { chain_partitions: PARTITIONS, gateway_slots: 1 };
        let log = EmbeddedLog::open(EmbeddedConfig::new(dir.path().join("log"), layout), Clock::system()).unwrap();
        let presence = SharedPresence::default();
        let at = Clock::system().now_ms();
        let mut table = presence.write().unwrap();
        table.apply(&PresenceEvent::Slot(Heartbeat { slot: 0, epoch: 5, at }), at);
        for user in 1..=LARGE_MEMBERS {
            let came = Presence { user_id: UserId(user), slot: 0, epoch: 5, online: true, at };
            table.apply(&PresenceEvent::User(came), at);
        }
        drop(table);
        Self { dir, log, presence }
    }

    async fn run(&self, fuse: Fuse, tasks_per_stage: u16) -> Running {
        let context = TaskContext {
            log: self.log.clone(),
            clock: Clock::system(),
            config: RunnerConfig { batch_records_max: 64, ..RunnerConfig::default() },
            instance: "test".into(),
        };
        let stop = CancellationToken::new();
        let mut tasks = StageTasks::new(context, tasks_per_stage, stop.clone());
        let of = |group_id: GroupId| Membership {
            group_id,
            version: 1,
            large: group_id == LARGE,
            members: (1..=if group_id == LARGE { LARGE_MEMBERS } else { 3 }).map(UserId).collect(),
        };
        let parts = Parts {
            dedupe_window_ms: 600_000,
            first_instance: 0,
            store: Some(SqliteStore::open(&self.dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap()),
            persist_tasks_max: u16::MAX,
            presence: self.presence.clone(),
            members: Arc::new(move |groups| Box::pin(async move { Ok(groups.into_iter().map(of).collect()) })),
            large_group: stages::large_group::Config::default(),
        };
        topology::tasks(fuse).iter().for_each(|task| task.start(&parts, &mut tasks));
        Running { tasks, stop }
    }

    /// Says messages `from..to`, every third of them twice.
    async fn say(&self, from: i64, to: i64) {
        let mut encoder = Encoder::default();
        for n in from..to {
            for _ in 0..=i64::from(n % 3 == 0) {
                let message = message(n);
                encoder.put(&UPSTREAM, &message.key(), &message, Headers::default()).unwrap();
            }
        }
        self.log.append(encoder.finish()).await.unwrap();
    }

    /// What was sequenced, once it is `count` messages; what is no record is passed over.
    async fn sequenced(&self, count: usize) -> Vec<Sequenced> {
        self.read(&SEQUENCED.spec, |records| records.len() >= count).await
    }

    /// Reads a topic from its start until `enough` is satisfied.
    async fn read<R: Record>(&self, topic: &'static TopicSpec, enough: impl Fn(&[R]) -> bool) -> Vec<R> {
        let partitions = self.log.layout().partitions(topic);
        let from: Vec<_> = (0..partitions).map(|partition| (partition, StartAt::Earliest)).collect();
        let mut reader = self.log.read(topic, &from).await.unwrap();
        let mut records = Vec::new();
        while !enough(&records) {
            let batch = reader.next_within(WAIT).await.unwrap().expect("the chain goes on");
            records.extend(batch.records.iter().filter_map(|record| R::decode(&record.value).ok()));
        }
        records
    }
}

impl Running {
    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.ended().await {
            ended.unwrap();
        }
    }
}

fn message(n: i64) -> Upstream {
    let conversation_id = match n % 10 {
        0 => ConversationId::World,
        1 => ConversationId::Group(LARGE),
        2 => ConversationId::Group(GroupId(3)),
        other => ConversationId::single(ANN, UserId(other)),
    };
    Upstream {
        conversation_id,
        sender_id: ANN,
        client_msg_id: format!("{n}").into(),
        kind: Kind::Text,
        content: format!("message {n}").into(),
        target_seq: None,
        remove: false,
    }
}

/// Every message once, seqs 1 to n in each conversation, in the order it was said.
fn check_sequenced(records: &[Sequenced], said: i64) {
    let mut by_conversation: BTreeMap<ConversationId, Vec<&Sequenced>> = BTreeMap::new();
    records.iter().for_each(|record| by_conversation.entry(record.conversation_id).or_default().push(record));
    for (conversation, records) in by_conversation {
        let expected: Vec<_> =
            (0..said).filter(|&n| message(n).conversation_id == conversation).map(|n| n.to_string()).collect();
        let came: Vec<_> = records.iter().map(|record| record.client_msg_id.to_string()).collect();
        assert_eq!(came, expected, "{conversation}");
        assert!(records.iter().zip(1..).all(|(record, seq)| record.seq_id.0 == seq), "{conversation}");
    }
    assert_eq!(records.len() as i64, said);
}

/// How many of `said` messages are wholly delivered: all pages of those to the large group.
fn delivered_whole(deliveries: &[Delivery], said: i64) -> bool {
    let to_large = (0..said).filter(|n| n % 10 == 1).count();
    let reached = |delivery: &Delivery| delivery.recipients.len().max(1);
    let large = deliveries.iter().filter(|delivery| delivery.message.conversation_id == ConversationId::Group(LARGE));
    let others = deliveries.iter().filter(|delivery| delivery.message.conversation_id != ConversationId::Group(LARGE));
    large.map(reached).sum::<usize>() >= to_large * usize::try_from(LARGE_MEMBERS).unwrap()
        && others.count() >= usize::try_from(said).unwrap() - to_large
}

async fn goes_through(fuse: Fuse, tasks_per_stage: u16) {
    const SAID: i64 = 500;
    let installation = Installation::new();
    installation.say(0, 200).await;
    let running = installation.run(fuse, tasks_per_stage).await;
    installation.read::<Sequenced>(&SEQUENCED.spec, |records| !records.is_empty()).await;
    running.stop().await;
    installation.say(200, SAID).await;
    let running = installation.run(fuse, tasks_per_stage).await;
    let deliveries =
        installation.read::<Delivery>(&DELIVERIES.spec, |deliveries| delivered_whole(deliveries, SAID)).await;
    running.stop().await;

    let sequenced = installation.read::<Sequenced>(&SEQUENCED.spec, |records| records.len() as i64 >= SAID).await;
    check_sequenced(&sequenced, SAID);
    assert!(deliveries.iter().all(|delivery| delivery.epoch == 5));
    let mut newest: BTreeMap<(ConversationId, UserId), i64> = BTreeMap::new();
    for Delivery { recipients, message, .. } in &deliveries {
        for user in recipients {
            let former = newest.insert((message.conversation_id, *user), message.seq_id.0).unwrap_or(0);
            assert_eq!(message.seq_id.0, former + 1, "user {user} in {}", message.conversation_id);
        }
    }
    installation.log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fused_stages_make_each_message_once_and_in_order_also_over_a_restart() {
    goes_through(Fuse::ALL, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfused_stages_do_the_same() {
    goes_through(Fuse::NONE, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_a_stage_share_the_partitions_and_do_the_same() {
    goes_through(Fuse::ALL, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfused_stages_can_be_fused_and_parted_again() {
    let installation = Installation::new();
    for (fuse, from, to) in [(Fuse::NONE, 0, 50), (Fuse::ALL, 50, 100), (Fuse::NONE, 100, 150)] {
        installation.say(from, to).await;
        let running = installation.run(fuse, 1).await;
        installation.read::<Delivery>(&DELIVERIES.spec, |deliveries| delivered_whole(deliveries, to)).await;
        running.stop().await;
    }
    let sequenced = installation.read::<Sequenced>(&SEQUENCED.spec, |records| records.len() >= 150).await;
    check_sequenced(&sequenced, 150);
    installation.log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_that_were_always_fused_refuse_to_be_parted() {
    let installation = Installation::new();
    installation.say(0, 50).await;
    let running = installation.run(Fuse::ALL, 1).await;
    installation.sequenced(50).await;
    running.stop().await;
    let mut running = installation.run(Fuse::NONE, 1).await;
    let ended = tokio::time::timeout(WAIT, running.tasks.ended()).await.unwrap();
    assert!(matches!(ended, Some(Err(RunError::PositionLost { group: "id-assign", .. }))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_record_on_any_topic_are_set_aside_and_the_chain_goes_on() {
    let installation = Installation::new();
    let inputs: [&'static TopicSpec; 5] =
        [&UPSTREAM.spec, &ACCEPTED.spec, &SEQUENCED.spec, &PERSISTED.spec, &GROUP_TASKS.spec];
    for (topic, bytes) in inputs.iter().zip(["", "x", "\u{3}\u{1}", "not a record", "\u{0}\u{0}\u{0}\u{0}"]) {
        let record = Outgoing {
            topic,
            partition: Some(0),
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(bytes.as_bytes()),
            headers: Headers::default(),
        };
        installation.log.append(vec![record]).await.unwrap();
    }
    installation.say(0, 100).await;
    let running = installation.run(Fuse::NONE, 1).await;
    let dead = installation.read::<Raw>(&DEAD_LETTERS.spec, |dead| dead.len() >= inputs.len()).await;
    installation.read::<Delivery>(&DELIVERIES.spec, |deliveries| delivered_whole(deliveries, 100)).await;
    running.stop().await;
    assert_eq!(dead.len(), inputs.len());
    check_sequenced(&installation.sequenced(100).await, 100);
    installation.log.close().await;
}
