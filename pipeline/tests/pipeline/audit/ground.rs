//! An installation without edges for the auditor to look at: a log, a store, stages that can be started and
//! stopped, and hands that change what none of them would.

use std::sync::Arc;
use std::time::Duration;

use pipeline::audit::{Findings, IDENTITIES_MAX, Location, Scope, audit};
use pipeline::config::Config;
use pipeline::log::OpenLog;
use pipeline::runner::{RunnerConfig, TaskContext};
use pipeline::tasks::StageTasks;
use pipeline::topology::{self, Fuse, Parts, Row};
use schemas::avro::{PresenceEvent, Record};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{Delivery, Heartbeat, Presence, Sequenced, Upstream};
use stages::invariants::Invariant;
use stages::membership::Membership;
use stages::presence::SharedPresence;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::Store;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{DELIVERIES, Keyed, SEQUENCED, Topic, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{Log, Place, StartAt};
use topics::partition::partition_of;

use crate::by_hand::set_positions;

const WAIT: Duration = Duration::from_secs(60);
pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);
pub const SAID: i64 = 300;
pub const EPOCH: i64 = 5;
const WINDOW_MS: i64 = 600_000;

/// An installation without edges: a log, a store, and stages that can be started and stopped.
pub struct Ground {
    dir: TempDir,
    open: OpenLog,
    presence: SharedPresence,
    store: Arc<dyn Store>,
    pub fuse: Fuse,
}

impl Ground {
    pub async fn open(mut config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        config.data_dir = dir.path().into();
        (config.log.chain_partitions, config.log.gateway_slots) = (2, 1);
        let open = OpenLog::open(&config, Clock::system()).await.unwrap();
        let store = SqliteStore::open(&dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();
        let presence = both_are_online();
        Self { dir, open, presence, store, fuse: config.stages.fuse() }
    }

    /// The same after `SAID` messages went through, a third of them said twice.
    pub async fn talked(self) -> Self {
        let (tasks, stop) = self.run();
        self.say(0, SAID).await;
        self.arrived(SAID).await;
        stopped(tasks, stop).await;
        self
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub fn log(&self) -> Arc<dyn Log> {
        self.open.log()
    }

    pub fn run(&self) -> (StageTasks, CancellationToken) {
        let context = TaskContext {
            log: self.log(),
            clock: Clock::system(),
            config: RunnerConfig { batch_records_max: 64, ..RunnerConfig::default() },
            instance: "test".into(),
        };
        let stop = CancellationToken::new();
        let mut tasks = StageTasks::new(context, 1, stop.clone());
        let of = |group_id: GroupId| Membership { group_id, version: 1, large: false, members: vec![ANN, BOB] };
        let parts = Parts {
            dedupe_window_ms: WINDOW_MS,
            first_instance: 0,
            store: Some(self.store.clone()),
            persist_tasks_max: 1,
            presence: self.presence.clone(),
            members: Arc::new(move |groups| Box::pin(async move { Ok(groups.into_iter().map(of).collect()) })),
            large_group: stages::large_group::Config::default(),
        };
        topology::tasks(self.fuse).iter().for_each(|task| task.start(&parts, &mut tasks));
        (tasks, stop)
    }

    pub async fn say(&self, from: i64, to: i64) {
        let mut encoder = Encoder::default();
        for n in from..to {
            for _ in 0..=i64::from(n % 3 == 0) {
                let said = said(n);
                encoder.put(&UPSTREAM, &said.key(), &said, Headers::default()).unwrap();
            }
        }
        self.log().append(encoder.finish()).await.unwrap();
    }

    /// Waits until so many messages were delivered.
    pub async fn arrived(&self, count: i64) {
        let mut reader = self.log().read(&DELIVERIES.spec, &[(0, StartAt::Earliest)]).await.unwrap();
        let mut came = std::collections::BTreeSet::new();
        let deadline = tokio::time::Instant::now() + WAIT;
        while (came.len() as i64) < count {
            assert!(tokio::time::Instant::now() < deadline, "only {} of {count} came", came.len());
            let batch = reader.next_within(Duration::from_secs(1)).await.unwrap();
            for record in batch.map_or_else(Vec::new, |batch| batch.records) {
                let message = Delivery::decode(&record.value).unwrap().message;
                came.insert((message.conversation_id, message.seq_id));
            }
        }
    }

    pub async fn audit(&self) -> Findings {
        self.audit_by(scope()).await
    }

    pub async fn audit_by(&self, scope: Scope) -> Findings {
        audit(&*self.log(), &*self.store, &scope, |_| {}).await.unwrap()
    }

    /// Appends a record as no stage would, and says where it is.
    pub async fn plant<K: topics::catalogue::Key, V: Record + Keyed<K>>(
        &self,
        topic: &'static Topic<K, V>,
        partition: u32,
        record: &V,
    ) -> Location {
        let mut encoder = Encoder::default();
        encoder.put_at(topic, partition, &record.key(), record, Headers::default()).unwrap();
        let Place { partition, offset } = self.log().append(encoder.finish()).await.unwrap()[0];
        Location::Record { topic: &topic.spec, partition, offset }
    }

    /// Moves the position of a stage's group to the end without doing anything for it.
    pub async fn skip(&self, stage: &dyn Row) {
        set_positions(&*self.log(), stage.name(), stage.input(), |bounds| bounds.end).await;
    }

    /// All that was sequenced of a conversation, with the offsets.
    pub async fn sequenced(&self, conversation: ConversationId) -> Vec<(u64, Sequenced)> {
        let (log, topic) = (self.log(), &SEQUENCED.spec);
        let partition = place(conversation);
        let end = log.bounds(topic, partition).await.unwrap().end;
        let mut scan = topics::scan::Scan::open(&*log, topic, partition, StartAt::Earliest, end).await.unwrap();
        let mut messages = Vec::new();
        while let Some(batch) = scan.next().await.unwrap() {
            messages.extend(batch.records.iter().map(|r| (r.offset, Sequenced::decode(&r.value).unwrap())));
        }
        messages.retain(|(_, message)| message.conversation_id == conversation);
        messages
    }

    pub async fn newest(&self, conversation: ConversationId) -> Sequenced {
        self.sequenced(conversation).await.pop().unwrap().1
    }

    /// Changes the store behind everybody's back.
    pub fn tamper(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("repo.db")).unwrap();
        assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
    }
}

pub async fn stopped(mut tasks: StageTasks, stop: CancellationToken) {
    stop.cancel();
    while let Some(ended) = tasks.ended().await {
        ended.unwrap();
    }
}

pub fn scope() -> Scope {
    Scope {
        now_ms: Clock::system().now_ms(),
        since_ms: None,
        dedupe_window_ms: WINDOW_MS,
        lag_records_max: 100_000,
        identities_max: IDENTITIES_MAX,
        fuse: Fuse { persist_and_fan_out: false, ..Fuse::ALL },
    }
}

pub fn pair() -> ConversationId {
    ConversationId::single(ANN, BOB)
}

pub fn place(conversation: ConversationId) -> u32 {
    partition_of(conversation.to_string().as_bytes(), 2)
}

pub fn said(n: i64) -> Upstream {
    let conversation_id = match n % 4 {
        0 => ConversationId::World,
        1 => ConversationId::Group(GroupId(3)),
        _ => pair(),
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

/// A message as id-assign would make it next.
pub fn next_of(newest: &Sequenced, by: i64) -> Sequenced {
    Sequenced {
        message_id: MessageId(newest.message_id.0 + (by << 22)),
        seq_id: Seq(newest.seq_id.0 + by),
        ordinal: newest.ordinal + by,
        client_msg_id: format!("forged {by}").into(),
        ..newest.clone()
    }
}

pub fn assert_all_hold(findings: &Findings) {
    for (invariant, verdict) in findings.verdicts() {
        assert_eq!(verdict.first, None, "{invariant}");
        assert!(verdict.looked_at > 0, "{invariant} was not looked at");
    }
    assert!(findings.hold());
}

/// The invariant is broken, first at this place, in words that contain this.
pub fn assert_broken(findings: &Findings, invariant: Invariant, at: &Location, says: &str) {
    let (_, verdict) = findings.verdicts().find(|(of, _)| *of == invariant).unwrap();
    let first = verdict.first.as_ref().unwrap_or_else(|| panic!("{invariant} holds: {}", findings.to_json()));
    assert_eq!(&first.location, at, "{invariant}: {}", first.what);
    assert!(first.what.contains(says), "{invariant}: {}", first.what);
}

fn both_are_online() -> SharedPresence {
    let presence = SharedPresence::default();
    let at = Clock::system().now_ms();
    let mut table = presence.write().unwrap();
    table.apply(&PresenceEvent::Slot(Heartbeat { slot: 0, epoch: EPOCH, at }), at);
    for user_id in [ANN, BOB] {
        table.apply(&PresenceEvent::User(Presence { user_id, slot: 0, epoch: EPOCH, online: true, at }), at);
    }
    drop(table);
    presence
}
