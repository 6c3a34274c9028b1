//! The auditor, and the pairing of log and store, on a real Kafka.

mod ground;
mod pairs;

use pipeline::audit::Location;
use pipeline::config::{Config, LogKind};
use pipeline::topology::DEDUPE;
use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::records::{Head, Sequenced, Upstream};
use stages::invariants::Invariant;
use topics::catalogue::{HEADS, PERSISTED, SEQUENCED, UPSTREAM};

use self::ground::{Ground, assert_all_hold, assert_broken, next_of, pair, place, said};
use self::pairs::{another_log_is_refused, the_newest_messages_are_missed};

impl Ground {
    /// On the broker that the environment names.
    #[allow(clippy::disallowed_methods, reason = "where the broker is, only the environment knows")]
    pub async fn kafka() -> Self {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_newest_messages_is_noticed() {
    the_newest_messages_are_missed(Ground::kafka().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_refused_beside_another_log_than_its_own() {
    another_log_is_refused(Ground::kafka().await, &Ground::kafka().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_holds_and_what_is_planted_is_found() {
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
    ground.skip(&DEDUPE).await;
    let acked = ground.audit().await;
    let (_, verdict) = acked.verdicts().find(|(of, _)| *of == Invariant::Acked).unwrap();
    assert_eq!(verdict.violations, 2, "the row and the record at {at}: {verdict:?}");
}
