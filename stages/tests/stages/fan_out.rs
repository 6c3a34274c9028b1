//! Who gets what is said between two users and in the world.

use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use stages::dispatch::Dispatch;
use stages::driver::Driver;
use stages::fan_out::{Config, FanOut};
use stages::presence::{SLOT_SILENT_MS_MAX, SharedPresence};
use topics::headers::{Headers, Origin};

use crate::groups::Groups;
use crate::records::{ANN, BOB, NOW, beat, deliveries, online, sequenced, user_on};

fn driver(presence: &SharedPresence) -> Driver<FanOut> {
    let presence = presence.clone();
    Driver::new(1, NOW, move || FanOut::new(presence.clone(), Groups::default().source(), Config::default()))
}

async fn check(driver: &mut Driver<FanOut>, kind: Kind, conversation: ConversationId, expected: &[(u32, &[i64])]) {
    let dispatches = driver.feed_values(0, [sequenced(kind, conversation, ANN, 1)]).await.unwrap();
    let expected: Vec<_> = expected.iter().map(|(slot, users)| (*slot, users.to_vec())).collect();
    assert_eq!(deliveries(&dispatches), expected);
    assert_eq!(dispatches.len(), expected.len());
}

fn pair() -> ConversationId {
    ConversationId::single(ANN, BOB)
}

#[tokio::test]
async fn both_users_get_it_with_one_delivery_a_slot() {
    let presence = online([(ANN, 0), (BOB, 0), (BOB, 3), (UserId(3), 1)]);
    check(&mut driver(&presence), Kind::Text, pair(), &[(0, &[1, 2]), (3, &[2])]).await;
    let alone = ConversationId::single(ANN, ANN);
    check(&mut driver(&presence), Kind::Text, alone, &[(0, &[1])]).await;
}

#[tokio::test]
async fn nobody_online_no_output() {
    check(&mut driver(&online([(UserId(3), 0)])), Kind::Text, pair(), &[]).await;
    check(&mut driver(&online([])), Kind::Text, ConversationId::World, &[]).await;
}

#[tokio::test]
async fn the_world_is_one_delivery_a_live_slot() {
    let presence = online([(UserId(8), 2), (UserId(9), 2)]);
    {
        let mut table = presence.write().unwrap();
        table.apply(&beat(6, 1), NOW);
        for at in (0..=SLOT_SILENT_MS_MAX + 5_000).step_by(5_000) {
            table.apply(&beat(2, 1), NOW + at);
            table.apply(&beat(5, 9), NOW + at);
        }
    }
    check(&mut driver(&presence), Kind::Text, ConversationId::World, &[(2, &[]), (5, &[])]).await;
}

#[tokio::test]
async fn read_marks_and_unknown_kinds_go_out_too() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    let mut driver = driver(&presence);
    for kind in [Kind::ReadMark, Kind::Edit, Kind::Unknown("poll".into())] {
        check(&mut driver, kind, pair(), &[(0, &[1]), (1, &[2])]).await;
    }
}

#[tokio::test]
async fn dead_slots_and_old_epochs_get_nothing() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    let mut driver = driver(&presence);
    presence.write().unwrap().apply(&beat(1, 2), NOW);
    check(&mut driver, Kind::Text, pair(), &[(0, &[1])]).await;
    for at in (0..=SLOT_SILENT_MS_MAX + 5_000).step_by(5_000) {
        presence.write().unwrap().apply(&beat(1, 2), NOW + at);
    }
    check(&mut driver, Kind::Text, pair(), &[]).await;
    presence.write().unwrap().apply(&user_on(BOB, 1, 2, true), NOW + SLOT_SILENT_MS_MAX + 5_000);
    check(&mut driver, Kind::Text, pair(), &[(1, &[2])]).await;
}

#[tokio::test]
async fn no_clock_of_this_machine_decides_who_is_alive() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    let mut driver = driver(&presence);
    for ms in [SLOT_SILENT_MS_MAX * 4, -SLOT_SILENT_MS_MAX * 400] {
        driver.clock().advance_ms(ms);
        check(&mut driver, Kind::Text, pair(), &[(0, &[1]), (1, &[2])]).await;
    }
}

#[tokio::test]
async fn every_delivery_carries_the_epoch_the_message_and_the_headers() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    presence.write().unwrap().apply(&user_on(BOB, 1, 44, true), NOW);
    let mut driver = driver(&presence);
    let message = sequenced(Kind::Text, pair(), ANN, 5);
    let mut batch = driver.inputs(0, [message.clone()]);
    let origin = Some(Origin { slot: 0, epoch: 1, socket: 3 });
    batch[0].headers = Headers { origin, ..Headers::default() };
    let source = batch[0].source;
    let out = driver.feed(batch).await.unwrap();
    assert_eq!(out.records.len(), 2);
    for (output, expected) in out.records.iter().zip([1, 44]) {
        let Dispatch::Delivery { delivery, .. } = &output.value else { panic!("{output:?}") };
        assert_eq!((delivery.epoch, &delivery.message), (expected, &message));
        assert_eq!((output.headers.origin, output.source), (origin, source));
    }
}

#[tokio::test]
async fn a_group_that_does_not_exist_has_nobody_but_the_sender() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    check(&mut driver(&presence), Kind::Text, ConversationId::Group(GroupId(404)), &[(0, &[1])]).await;
}

#[tokio::test]
async fn read_marks_go_where_they_are_shown_only() {
    let presence = online([(ANN, 0), (BOB, 1)]);
    let mut driver = driver(&presence);
    check(&mut driver, Kind::ReadMark, ConversationId::World, &[]).await;
    check(&mut driver, Kind::ReadMark, ConversationId::Group(GroupId(404)), &[]).await;
    check(&mut driver, Kind::ReadMark, pair(), &[(0, &[1]), (1, &[2])]).await;
}
