//! What the retention removed is not missed; what else is gone still is.

use pipeline::audit::Location;
use schemas::ids::{ConversationId, GroupId, Seq};
use schemas::kind::Kind;
use schemas::records::Upstream;
use stages::invariants::Invariant;
use topics::catalogue::{SEQUENCED, UPSTREAM};

use super::ground::{Ground, SAID, assert_all_hold, assert_broken, pair, place, said, stopped};
use super::pairs::check;

impl Ground {
    /// Removes the oldest messages of a conversation up to and with this one.
    async fn retire(&self, conversation: ConversationId, to: Seq) {
        let places: Vec<_> = (1..=to.0).map(|seq| (conversation, Seq(seq))).collect();
        self.store().retire(&places).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_retention_removed_are_not_missed_and_those_behind_them_are() {
    let ground = Ground::embedded().await.talked().await;
    let all = ground.sequenced(pair()).await;
    ground.retire(pair(), Seq(20)).await;
    let last = ground.newest(ConversationId::World).await.seq_id;
    ground.retire(ConversationId::World, last).await;
    assert_all_hold(&ground.audit().await);

    let (offset, lost) = &all[24];
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", lost.message_id));
    let findings = ground.audit().await;
    let at = Location::Record { topic: &SEQUENCED.spec, partition: place(pair()), offset: *offset };
    assert_broken(&findings, Invariant::Acked, &at, "the store does not have it");
    let behind = Location::Stored { conversation: pair(), seq: Seq(lost.seq_id.0 + 1) };
    assert_broken(&findings, Invariant::Gapless, &behind, "next to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_that_is_gone_behind_those_that_were_removed_is_missed() {
    let ground = Ground::embedded().await.talked().await;
    let lost = ground.sequenced(pair()).await.swap_remove(20).1;
    ground.retire(pair(), Seq(20)).await;
    ground.tamper(&format!("DELETE FROM messages WHERE message_id = {}", lost.message_id));
    let behind = Location::Stored { conversation: pair(), seq: Seq(lost.seq_id.0 + 1) };
    assert_broken(&ground.audit().await, Invariant::Gapless, &behind, "next to");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_about_a_removed_message_is_no_other_text() {
    let ground = Ground::embedded().await.talked().await;
    let (tasks, stop) = ground.run();
    let about = |kind, target, name: &str| Upstream {
        kind,
        client_msg_id: name.into(),
        target_seq: Some(Seq(target)),
        ..said(2)
    };
    for record in [about(Kind::Edit, 2, "edit"), about(Kind::Reaction, 1, "reaction")] {
        ground.plant(&UPSTREAM, place(pair()), &record).await;
    }
    ground.arrived(SAID + 2).await;
    stopped(tasks, stop).await;
    assert_all_hold(&ground.audit().await);
    ground.retire(pair(), Seq(2)).await;
    let newest = ground.newest(pair()).await;
    assert_eq!(ground.store().message_at(pair(), newest.seq_id).await.unwrap().unwrap().content, "");
    assert_all_hold(&ground.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_messages_are_all_removed_belongs_to_its_log_and_nothing_comes_back() {
    let ground = Ground::embedded().await.talked().await;
    check(&ground, ground.store()).await.expect("its own");
    for conversation in [pair(), ConversationId::World, ConversationId::Group(GroupId(3))] {
        let messages = ground.sequenced(conversation).await;
        let messages: Vec<_> = messages.iter().map(|(_, message)| message).collect();
        let last = messages.last().unwrap().seq_id;
        ground.retire(conversation, last).await;
        // As a rebuild does.
        ground.store().write_batch(&messages).await.unwrap();
        let extent = ground.store().extent(conversation).await.unwrap();
        assert_eq!((extent.first, extent.last), (Seq(last.0 + 1), last));
        assert!(ground.store().message_at(conversation, last).await.unwrap().is_none());
    }
    check(&ground, ground.store()).await.expect("nothing is missed");
    let findings = ground.audit().await;
    assert!(findings.hold(), "{}", findings.to_json());
}
