//! The auditor over a chain that has worked: it finds nothing to complain of, also while messages are
//! under way, and finds each thing that is planted, by its name and at its place.

use std::sync::Arc;
use std::time::Duration;

use pipeline::audit::{Findings, IDENTITIES_MAX, Location, Scope, audit};
use pipeline::cli::Role;
use pipeline::config::{Config, LogKind};
use pipeline::log::OpenLog;
use pipeline::runner::{RunnerConfig, Surroundings};
use pipeline::tasks::StageTasks;
use pipeline::topology::{self, Parts, StageRole};
use schemas::avro::{PresenceEvent, Record};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{Delivery, Head, Heartbeat, Presence, Sequenced, Upstream};
use stages::invariants::Invariant;
use stages::membership::Membership;
use stages::presence::SharedPresence;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{DELIVERIES, HEADS, Keyed, PERSISTED, SEQUENCED, Topic, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{Commit, Event, Log, MemberSpec, Place, StartAt};
use topics::partition::partition_of;

const WAIT: Duration = Duration::from_secs(60);
const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const SAID: i64 = 300;
const EPOCH: i64 = 5;
const WINDOW_MS: i64 = 600_000;

/// An installation without edges: a log, a store, and stages that can be started and stopped.
struct Ground {
    dir: TempDir,
    open: OpenLog,
    presence: SharedPresence,
    store: Arc<SqliteStore>,
}

impl Ground {
    async fn embedded() -> Self {
        Self::open(Config::default()).await
    }

    /// On the broker that the environment names.
    #[allow(clippy::disallowed_methods, reason = "where the broker is, only the environment knows")]
    async fn kafka() -> Self {
        let mut config = Config::default();
        config.log.kind = LogKind::Kafka;
        config.log.kafka.brokers = std::env::var("GOCHAT_TEST_KAFKA").expect(
            "set GOCHAT_TEST_KAFKA to a broker's host:port; deployment/scripts/start-infra.sh --native --services kafka starts one at 127.0.0.1:19092",
        );
        let prefix = format!("audit-{:016x}-", rand::random::<u64>());
        config.log.kafka.topic_prefix.clone_from(&prefix);
        config.log.kafka.group_prefix = prefix;
        Self::open(config).await
    }

    async fn open(mut config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        config.data_dir = dir.path().into();
        (config.log.chain_partitions, config.log.gateway_slots) = (2, 1);
        let open = OpenLog::open(&config, Clock::system()).await.unwrap();
        let presence = SharedPresence::default();
        let at = Clock::system().now_ms() + 3_600_000;
        let mut table = presence.write().unwrap();
        table.apply(&PresenceEvent::Slot(Heartbeat { slot: 0, epoch: EPOCH, at }));
        for user_id in [ANN, BOB] {
            table.apply(&PresenceEvent::User(Presence { user_id, slot: 0, epoch: EPOCH, online: true, at }));
        }
        drop(table);
        let store = SqliteStore::open(&dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();
        Self { dir, open, presence, store }
    }

    /// The same after `SAID` messages went through, a third of them said twice.
    async fn talked(self) -> Self {
        let (tasks, stop) = self.run();
        self.say(0, SAID).await;
        self.arrived(SAID).await;
        stopped(tasks, stop).await;
        self
    }

    fn log(&self) -> Arc<dyn Log> {
        self.open.log()
    }

    fn run(&self) -> (StageTasks, CancellationToken) {
        let around = Surroundings {
            log: self.log(),
            clock: Clock::system(),
            config: RunnerConfig { batch_records_max: 64, ..RunnerConfig::default() },
            instance: "test".into(),
        };
        let stop = CancellationToken::new();
        let mut tasks = StageTasks::new(around, 1, stop.clone());
        let of = |group_id: GroupId| Membership { group_id, version: 1, large: false, members: vec![ANN, BOB] };
        let parts = Parts {
            dedupe_window_ms: WINDOW_MS,
            fused: true,
            first_instance: 0,
            store: self.store.clone(),
            presence: self.presence.clone(),
            members: Arc::new(move |groups| Box::pin(async move { Ok(groups.into_iter().map(of).collect()) })),
        };
        for role in clap::ValueEnum::value_variants().iter().filter_map(|role: &Role| StageRole::of(*role)) {
            topology::start(role, &parts, &mut tasks);
        }
        (tasks, stop)
    }

    async fn say(&self, from: i64, to: i64) {
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
    async fn arrived(&self, count: i64) {
        let mut reader = self.log().read(&DELIVERIES.spec, &[(0, StartAt::Earliest)]).await.unwrap();
        let mut came = std::collections::BTreeSet::new();
        let deadline = tokio::time::Instant::now() + WAIT;
        while (came.len() as i64) < count {
            assert!(tokio::time::Instant::now() < deadline, "only {} of {count} came", came.len());
            let batch = reader.next(Duration::from_secs(1)).await.unwrap();
            for record in batch.map_or_else(Vec::new, |batch| batch.records) {
                let message = Delivery::decode(&record.value).unwrap().message;
                came.insert((message.conversation_id, message.seq_id));
            }
        }
    }

    async fn audit(&self) -> Findings {
        self.audit_by(scope()).await
    }

    async fn audit_by(&self, scope: Scope) -> Findings {
        audit(&*self.log(), &*self.store, &scope, |_| {}).await.unwrap()
    }

    /// Appends a record as no stage would, and says where it is.
    async fn plant<K: topics::catalogue::Key, V: Record + Keyed<K>>(
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

    /// Moves a group's position to the end without doing anything for it.
    async fn skip(&self, group: &str, topic: &'static TopicSpec) {
        let log = self.log();
        let spec = MemberSpec {
            group: group.into(),
            topic,
            instance: "careless".into(),
            transactional: true,
            batch_records_max: 1,
            batch_bytes_max: 1,
            poll_interval_max: WAIT,
        };
        let mut member = log.join(spec).await.unwrap();
        let mut positions = Vec::new();
        while positions.len() < log.layout().partitions(topic) as usize {
            match tokio::time::timeout(WAIT, member.next()).await.expect("partitions come").unwrap() {
                Event::Assigned(assigned) => {
                    for one in assigned {
                        positions.push((one.partition, log.bounds(topic, one.partition).await.unwrap().end));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        member.commit(Commit { outputs: vec![], positions }).await.unwrap();
        member.leave().await.unwrap();
    }

    /// All that was sequenced of a conversation, with the offsets.
    async fn sequenced(&self, conversation: ConversationId) -> Vec<(u64, Sequenced)> {
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

    async fn newest(&self, conversation: ConversationId) -> Sequenced {
        self.sequenced(conversation).await.pop().unwrap().1
    }

    /// Changes the store behind everybody's back.
    fn tamper(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.dir.path().join("repo.db")).unwrap();
        assert_eq!(db.execute(sql, []).unwrap(), 1, "{sql}");
    }
}

async fn stopped(mut tasks: StageTasks, stop: CancellationToken) {
    stop.cancel();
    while let Some(ended) = tasks.ended().await {
        ended.unwrap();
    }
}

fn scope() -> Scope {
    Scope {
        now_ms: Clock::system().now_ms(),
        since_ms: None,
        dedupe_window_ms: WINDOW_MS,
        lag_records_max: 100_000,
        identities_max: IDENTITIES_MAX,
    }
}

fn pair() -> ConversationId {
    ConversationId::single(ANN, BOB)
}

fn place(conversation: ConversationId) -> u32 {
    partition_of(conversation.to_string().as_bytes(), 2)
}

fn said(n: i64) -> Upstream {
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
fn next_of(newest: &Sequenced, by: i64) -> Sequenced {
    Sequenced {
        message_id: MessageId(newest.message_id.0 + (by << 22)),
        seq_id: Seq(newest.seq_id.0 + by),
        ordinal: newest.ordinal + by,
        client_msg_id: format!("forged {by}").into(),
        ..newest.clone()
    }
}

fn assert_all_hold(findings: &Findings) {
    for (invariant, verdict) in findings.verdicts() {
        assert_eq!(verdict.first, None, "{invariant}");
        assert!(verdict.looked_at > 0, "{invariant} was not looked at");
    }
    assert!(findings.hold());
}

/// The invariant is broken, first at this place, in words that contain this.
fn assert_broken(findings: &Findings, invariant: Invariant, at: &Location, says: &str) {
    let (_, verdict) = findings.verdicts().find(|(of, _)| *of == invariant).unwrap();
    let first = verdict.first.as_ref().unwrap_or_else(|| panic!("{invariant} holds: {}", findings.to_json()));
    assert_eq!(&first.location, at, "{invariant}: {}", first.what);
    assert!(first.what.contains(says), "{invariant}: {}", first.what);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_worked_holds_everything_and_each_guarantee_was_looked_at() {
    let ground = Ground::embedded().await.talked().await;
    assert_all_hold(&ground.audit().await);
    let in_small_passes = Scope { identities_max: 1, ..scope() };
    assert_all_hold(&ground.audit_by(in_small_passes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_proves_nothing_and_says_so() {
    let findings = Ground::embedded().await.audit().await;
    assert!(findings.hold());
    let (_, verdict) = findings.verdicts().find(|(of, _)| *of == Invariant::Gapless).unwrap();
    assert_eq!((verdict.looked_at, verdict.notes.len()), (0, 1), "{:?}", verdict.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_no_violation() {
    const PORTIONS: i64 = 30;
    const PORTION: i64 = 200;
    let ground = Arc::new(Ground::embedded().await);
    let (tasks, stop) = ground.run();
    let talking = {
        let ground = ground.clone();
        tokio::spawn(async move {
            for n in 0..PORTIONS {
                ground.say(n * PORTION, (n + 1) * PORTION).await;
            }
        })
    };
    let mut looks = 0;
    while !talking.is_finished() || looks < 3 {
        for since_ms in [None, Some(Clock::system().now_ms() - 500)] {
            let findings = ground.audit_by(Scope { since_ms, ..scope() }).await;
            assert!(findings.hold(), "look {looks}: {}", findings.to_json());
        }
        looks += 1;
    }
    talking.await.unwrap();
    ground.arrived(PORTIONS * PORTION).await;
    stopped(tasks, stop).await;
    assert_all_hold(&ground.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seq_that_was_left_out_breaks_gapless_and_a_head_that_is_behind_breaks_whole() {
    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    let at = ground.plant(&SEQUENCED, place(pair()), &next_of(&newest, 5)).await;
    let findings = ground.audit().await;
    assert_broken(&findings, Invariant::Gapless, &at, &format!("next to {}", newest.seq_id));
    let (_, whole) = findings.verdicts().find(|(of, _)| *of == Invariant::Whole).unwrap();
    assert!(whole.first.as_ref().is_some_and(|first| first.what.contains("head")), "{whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_made_twice_breaks_once() {
    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    let again = Sequenced { client_msg_id: newest.client_msg_id.clone(), ..next_of(&newest, 1) };
    let at = ground.plant(&SEQUENCED, place(pair()), &again).await;
    let findings = ground.audit().await;
    assert_broken(&findings, Invariant::Once, &at, &format!("again, seq {}", again.seq_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_message_that_dedupe_passed_over_breaks_acked() {
    let ground = Ground::embedded().await.talked().await;
    let at = ground.plant(&UPSTREAM, place(pair()), &Upstream { client_msg_id: "lost".into(), ..said(2) }).await;
    assert!(ground.audit().await.hold(), "it is under way");
    ground.skip("dedupe", &UPSTREAM.spec).await;
    assert_broken(&ground.audit().await, Invariant::Acked, &at, "no message was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_gone_breaks_acked_at_its_record_and_gapless_in_the_store() {
    let ground = Ground::embedded().await.talked().await;
    let (offset, lost) = ground.sequenced(pair()).await.swap_remove(6);
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", lost.message_id));
    let findings = ground.audit().await;
    let at = Location::Record { topic: &SEQUENCED.spec, partition: place(pair()), offset };
    assert_broken(&findings, Invariant::Acked, &at, "the store does not have it");
    let behind = Location::Stored { conversation: pair(), seq: Seq(lost.seq_id.0 + 1) };
    assert_broken(&findings, Invariant::Gapless, &behind, "next to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_another_id_breaks_stable_at_its_record() {
    let ground = Ground::embedded().await.talked().await;
    let (offset, changed) = ground.sequenced(pair()).await.swap_remove(3);
    let sql =
        format!("UPDATE messages SET message_id = message_id + (1 << 40) WHERE message_id = {}", changed.message_id);
    ground.tamper(&sql);
    let at = Location::Record { topic: &SEQUENCED.spec, partition: place(pair()), offset };
    assert_broken(&ground.audit().await, Invariant::Stable, &at, "the topic another one");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_in_persisted_or_delivered_breaks_stable() {
    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    let other = Sequenced { message_id: MessageId(newest.message_id.0 + 1), ..newest };
    let delivery = Delivery { epoch: EPOCH, recipients: vec![BOB], message: other.clone() };
    let at = ground.plant(&DELIVERIES, 0, &delivery).await;
    assert_broken(&ground.audit().await, Invariant::Stable, &at, "another one in sequenced-messages");
    let at = ground.plant(&PERSISTED, place(pair()), &other).await;
    assert_broken(&ground.audit().await, Invariant::Stable, &at, "another one in sequenced-messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_behind_a_later_one_breaks_order() {
    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    let (next, later) = (next_of(&newest, 1), next_of(&newest, 2));
    for message in [&next, &later] {
        ground.plant(&SEQUENCED, place(pair()), message).await;
    }
    ground.plant(&PERSISTED, place(pair()), &later).await;
    let at = ground.plant(&PERSISTED, place(pair()), &next).await;
    assert_broken(&ground.audit().await, Invariant::Order, &at, "comes first behind");

    let ground = Ground::embedded().await.talked().await;
    let all = ground.sequenced(pair()).await;
    let mut at = None;
    for n in [0, 2, 1] {
        let delivery = Delivery { epoch: EPOCH + 1, recipients: vec![BOB], message: all[n].1.clone() };
        at = Some(ground.plant(&DELIVERIES, 0, &delivery).await);
    }
    assert_broken(&ground.audit().await, Invariant::Order, &at.unwrap(), "user 2 is sent seq 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_not_the_newest_message_breaks_whole() {
    let ground = Ground::embedded().await.talked().await;
    let Sequenced { message_id, seq_id, ordinal, .. } = ground.newest(pair()).await;
    let behind = Head { conversation_id: pair(), seq_id: Seq(seq_id.0 - 1), ordinal, message_id };
    let at = ground.plant(&HEADS, place(pair()), &behind).await;
    assert_broken(&ground.audit().await, Invariant::Whole, &at, "the head of");

    let ground = Ground::embedded().await.talked().await;
    ground.tamper("UPDATE conversations SET last_seq = last_seq + 1 WHERE conversation_id = 'world'");
    let seq = ground.newest(ConversationId::World).await.seq_id;
    let at = Location::Stored { conversation: ConversationId::World, seq };
    assert_broken(&ground.audit().await, Invariant::Whole, &at, "ends with seq");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_persist_passed_over_or_nobody_reads_breaks_arrives_and_too_much_of_it_bound() {
    let ground = Ground::embedded().await.talked().await;
    let at = ground.plant(&UPSTREAM, place(pair()), &Upstream { client_msg_id: "late".into(), ..said(2) }).await;
    let in_time = Scope { now_ms: Clock::system().now_ms() + 30_000, ..scope() };
    assert!(ground.audit_by(in_time).await.hold());
    let late = Scope { now_ms: Clock::system().now_ms() + 120_000, ..scope() };
    assert_broken(&ground.audit_by(late).await, Invariant::Arrives, &at, "has waited for dedupe");
    let none = Scope { lag_records_max: 0, ..scope() };
    assert_broken(&ground.audit_by(none).await, Invariant::Bound, &Location::Topic(&UPSTREAM.spec), "1 records wait");

    let ground = Ground::embedded().await.talked().await;
    let newest = ground.newest(pair()).await;
    ground.plant(&SEQUENCED, place(pair()), &next_of(&newest, 1)).await;
    ground.skip("persist", &SEQUENCED.spec).await;
    let findings = ground.audit().await;
    assert_broken(&findings, Invariant::Arrives, &Location::Topic(&PERSISTED.spec), "not in persisted-messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_everything_holds_and_what_is_planted_is_found() {
    let ground = Ground::kafka().await.talked().await;
    assert_all_hold(&ground.audit().await);
    let all = ground.sequenced(pair()).await;
    let (offset, lost) = &all[6];
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", lost.message_id));
    let at = Location::Record { topic: &SEQUENCED.spec, partition: place(pair()), offset: *offset };
    assert_broken(&ground.audit().await, Invariant::Acked, &at, "the store does not have it");

    let newest = all.last().unwrap().1.clone();
    let other = Sequenced { message_id: MessageId(newest.message_id.0 + 1), ..newest.clone() };
    let at = ground.plant(&PERSISTED, place(pair()), &other).await;
    assert_broken(&ground.audit().await, Invariant::Stable, &at, "another one in sequenced-messages");

    let again = Sequenced { client_msg_id: newest.client_msg_id.clone(), ..next_of(&newest, 1) };
    let at = ground.plant(&SEQUENCED, place(pair()), &again).await;
    assert_broken(&ground.audit().await, Invariant::Once, &at, "again");
    let gap = next_of(&newest, 7);
    ground.plant(&SEQUENCED, place(pair()), &gap).await;
    ground.plant(&SEQUENCED, place(pair()), &next_of(&newest, 8)).await;
    ground.plant(&PERSISTED, place(pair()), &next_of(&newest, 8)).await;
    let at = ground.plant(&PERSISTED, place(pair()), &gap).await;
    assert_broken(&ground.audit().await, Invariant::Order, &at, "comes first behind");

    let conversation = ConversationId::World;
    let Sequenced { message_id, seq_id, ordinal, .. } = ground.newest(conversation).await;
    let behind = Head { conversation_id: conversation, seq_id: Seq(seq_id.0 - 1), ordinal, message_id };
    let in_pairs_partition = place(conversation) == place(pair());
    let at = ground.plant(&HEADS, place(conversation), &behind).await;
    if !in_pairs_partition {
        assert_broken(&ground.audit().await, Invariant::Whole, &at, "the head of");
    }
    let at = ground.plant(&UPSTREAM, place(pair()), &Upstream { client_msg_id: "lost".into(), ..said(2) }).await;
    ground.skip("dedupe", &UPSTREAM.spec).await;
    let acked = ground.audit().await;
    let (_, verdict) = acked.verdicts().find(|(of, _)| *of == Invariant::Acked).unwrap();
    assert_eq!(verdict.violations, 2, "the row and the record at {at}: {verdict:?}");
}
