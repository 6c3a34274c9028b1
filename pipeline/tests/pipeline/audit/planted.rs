//! Each thing that is planted is found, by its name and at its place.

use pipeline::audit::{Location, Scope};
use pipeline::topology::{DEDUPE, PERSIST};
use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::records::{Delivery, Head, Sequenced, Upstream};
use stages::invariants::Invariant;
use topics::catalogue::{DELIVERIES, HEADS, PERSISTED, SEQUENCED, UPSTREAM};
use topics::clock::Clock;

use super::ground::{BOB, EPOCH, Ground, assert_broken, next_of, pair, place, said, scope};

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
    ground.skip(&DEDUPE).await;
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
async fn a_row_with_another_text_breaks_stable_at_its_record() {
    let ground = Ground::embedded().await.talked().await;
    let (offset, changed) = ground.sequenced(pair()).await.swap_remove(4);
    ground.tamper(&format!("UPDATE messages SET content = content || '!' WHERE message_id = {}", changed.message_id));
    let at = Location::Record { topic: &SEQUENCED.spec, partition: place(pair()), offset };
    assert_broken(&ground.audit().await, Invariant::Stable, &at, "another text");
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
    ground.skip(&PERSIST).await;
    let findings = ground.audit().await;
    assert_broken(&findings, Invariant::Arrives, &Location::Topic(&PERSISTED.spec), "not in persisted-messages");
}
