//! From the slot's partition to sockets, and what sockets tell each other.

use gateway::GatewayConfig;
use schemas::avro::{PresenceEvent, Record};
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::Sequenced;
use serde_json::json;
use topics::catalogue::PRESENCE;

use crate::harness::{
    Client, EPOCH, Gateway, NOW, SLOT, connected, gateway, gateway_with, message, single, stored, within,
};

#[tokio::test]
async fn the_sending_socket_gets_message_stored_and_every_other_one_message() {
    let gateway = gateway().await;
    let mut sender = gateway.connect(1).await;
    let mut phone = gateway.connect(1).await;
    let mut peer = gateway.connect(2).await;
    let mut stranger = gateway.connect(3).await;
    sender.say("single_1_2", "key-7").await;
    sender.frame_of("message-ack").await;
    let origin = gateway.upstream(1).await[0].1.origin;
    gateway.deliver(EPOCH, &[1, 2], &[message(single(1, 2), 1, 7, "hello")], origin).await;
    assert_eq!(sender.frame().await["type"], "message-stored");
    assert_eq!(phone.frame().await["type"], "message");
    assert_eq!(peer.frame().await["type"], "message");
    stranger.nothing_came().await;
    // From another slot's or lease's socket of that number it is a message for everybody.
    for other in [
        topics::headers::Origin { epoch: EPOCH - 1, ..origin.unwrap() },
        topics::headers::Origin { slot: SLOT + 1, ..origin.unwrap() },
    ] {
        gateway.deliver(EPOCH, &[1], &[message(single(1, 2), 1, 8, "hello")], Some(other)).await;
        assert_eq!(sender.frame().await["type"], "message");
    }
}

#[tokio::test]
async fn a_delivery_for_another_epoch_is_ignored() {
    let (gateway, mut client) = connected().await;
    gateway.deliver(EPOCH - 1, &[1], &[message(single(1, 2), 2, 1, "old")], None).await;
    gateway.deliver(EPOCH + 1, &[1], &[message(single(1, 2), 2, 2, "foreign")], None).await;
    gateway.deliver(EPOCH, &[1], &[message(single(1, 2), 2, 3, "ours")], None).await;
    assert_eq!(client.frame().await["data"]["content"], "ours");
}

#[tokio::test]
async fn without_recipients_everybody_gets_it() {
    let gateway = gateway().await;
    let (mut one, mut two) = (gateway.connect(1).await, gateway.connect(2).await);
    gateway.deliver(EPOCH, &[], &[message(ConversationId::World, 2, 1, "hi all")], None).await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.frame().await["data"]["conversationId"], "world");
    }
}

#[tokio::test]
async fn presence_is_published_before_hello_and_after_the_last_socket() {
    let gateway = gateway().await;
    let first = gateway.connect(1).await;
    let seen = users(&gateway, 1).await;
    assert_eq!(seen.iter().filter(|(user, _)| *user == UserId(1)).count(), 1, "{seen:?}");
    let second = gateway.connect(1).await;
    drop(first);
    drop(second);
    let seen = users(&gateway, 2).await;
    assert_eq!(seen, [(UserId(1), true), (UserId(1), false)]);
}

/// What was published about users, once there are `count` records; a slot's heartbeat is first.
async fn users(gateway: &Gateway, count: usize) -> Vec<(UserId, bool)> {
    let records = gateway.records(&PRESENCE.spec, 1, count + 1).await;
    let events = records.iter().map(|record| PresenceEvent::decode(&record.value).unwrap());
    let of_users = events.filter_map(|event| match event {
        PresenceEvent::User(presence) => {
            assert_eq!((presence.slot, presence.epoch, presence.at), (3, EPOCH, NOW));
            Some((presence.user_id, presence.online))
        }
        PresenceEvent::Slot(beat) => {
            assert_eq!((beat.slot, beat.epoch), (3, EPOCH));
            None
        }
    });
    of_users.collect()
}

#[tokio::test]
async fn typing_reaches_the_other_members_only() {
    let gateway = gateway().await;
    let mut typist = gateway.connect(1).await;
    let (mut member, mut stranger) = (gateway.connect(2).await, gateway.connect(9).await);
    typist.send(json!({"type": "typing", "data": {"conversationId": "group_5"}})).await;
    assert_eq!(member.frame().await, json!({"type": "typing", "data": {"conversationId": "group_5", "userId": "1"}}));
    typist.send(json!({"type": "typing", "data": {"conversationId": "single_1_9"}})).await;
    assert_eq!(stranger.frame().await["data"]["conversationId"], "single_1_9");
    typist.nothing_came().await;
    stranger.send(json!({"type": "typing", "id": "t", "data": {"conversationId": "group_5"}})).await;
    let error = stranger.frame().await;
    assert_eq!((&error["id"], &error["data"]["code"]), (&json!("t"), &json!(1004)));
}

#[tokio::test]
async fn whoever_follows_a_user_hears_of_their_coming_and_going() {
    let gateway = gateway().await;
    let mut follower = gateway.connect(1).await;
    follower.send(json!({"type": "subscribe-presence", "id": "p", "data": {"userIds": ["2", "1"]}})).await;
    let now = "2027-01-15T08:00:00.000Z";
    let own = json!({"type": "presence", "id": "p", "data": {"userId": "1", "online": true, "lastSeen": now}});
    assert_eq!(follower.frame().await, own);
    let away = json!({"type": "presence", "id": "p", "data": {"userId": "2", "online": false, "lastSeen": null}});
    assert_eq!(follower.frame().await, away);
    let mut other = gateway.connect(2).await;
    let came = json!({"type": "presence", "data": {"userId": "2", "online": true, "lastSeen": now}});
    assert_eq!(follower.frame().await, came);
    other.stream.close(None).await.unwrap();
    assert_eq!(follower.frame().await["data"]["online"], false);
    follower.send(json!({"type": "subscribe-presence", "data": {"userIds": []}})).await;
    follower.nothing_came().await;
    let _again = gateway.connect(2).await;
    follower.nothing_came().await;
}

#[tokio::test]
async fn whoever_follows_a_user_hears_of_them_at_other_gateways_too() {
    let gateway = gateway().await;
    gateway.elsewhere(2, true);
    let mut follower = gateway.connect(1).await;
    follower.send(json!({"type": "subscribe-presence", "data": {"userIds": ["2", "3"]}})).await;
    let is = |user: &str, online: bool| (json!(user), json!(online));
    let told = async |follower: &mut Client| {
        let frame = follower.frame().await;
        assert_eq!(frame["type"], "presence", "{frame}");
        (frame["data"]["userId"].clone(), frame["data"]["online"].clone())
    };
    assert_eq!([told(&mut follower).await, told(&mut follower).await], [is("2", true), is("3", false)]);
    gateway.elsewhere(3, true);
    assert_eq!(told(&mut follower).await, is("3", true));
    // Here and there: they are gone when they are gone from both.
    let mut here = gateway.connect(2).await;
    here.stream.close(None).await.unwrap();
    gateway.elsewhere(2, true);
    gateway.elsewhere(2, false);
    assert_eq!(told(&mut follower).await, is("2", false));
    // A gateway that dies takes all of its users along.
    gateway.elsewhere.lock().unwrap().clear();
    gateway.changes.send(gateway::PresenceChange::Slots).unwrap();
    assert_eq!(told(&mut follower).await, is("3", false));
    follower.nothing_came().await;
}

#[tokio::test]
async fn heads_come_after_hello_newest_first() {
    let gateway = gateway_with(GatewayConfig { heads_after_s: 0, ..Default::default() }).await;
    let head = |id: &str, last_seq| pb::ConversationHead { conversation_id: id.into(), last_seq };
    *gateway.repo.heads.lock().unwrap() = vec![head("world", 9), head("group_5", 4)];
    let mut client = gateway.connect(1).await;
    let heads = client.frame().await;
    assert_eq!(heads.to_string(), json!({"type": "heads", "data": {"heads": {"group_5": 4, "world": 9}}}).to_string());
}

#[tokio::test]
async fn each_heads_asks_from_the_one_before_by_a_clock_that_is_never_set() {
    let config = GatewayConfig { heads_after_s: 0, heads_every_s: 1, ..Default::default() };
    let gateway = gateway_with(config).await;
    let mut client = gateway.connect(1).await;
    assert_eq!(client.frame().await["type"], "heads");
    let asked = within(async {
        loop {
            let asked = gateway.repo.heads_asked.lock().unwrap().clone();
            if asked.len() > 2 {
                return asked;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(asked.iter().map(|asked| asked.changed_since).collect::<Vec<_>>()[..3], [0, 1, 2]);
    // The gateway's wall clock stands still here.
    let elapsed: Vec<_> = asked.iter().map(|asked| asked.elapsed_ms.unwrap()).collect();
    assert!(elapsed[1..3].iter().all(|ms| (900..5_000).contains(ms)), "{elapsed:?}");
    client.nothing_came().await;
}

#[tokio::test]
async fn sync_says_recovered_only_when_nothing_is_missing() {
    let gateway = gateway().await;
    gateway.store((1..=5).map(|seq| stored(seq, 2)));
    let mut client = gateway.connect(1).await;
    let positions = json!({"group_5": 2, "group_6": 1, "world": 0});
    client.send(json!({"type": "sync", "id": "s", "data": {"positions": positions, "limit": 200}})).await;
    let mut results = Vec::new();
    for _ in 0..4 {
        let frame = client.frame().await;
        assert_eq!(frame["id"], "s");
        let data = &frame["data"];
        match frame["type"].as_str().unwrap() {
            "error" => assert_eq!(data["code"], 1004),
            _ => {
                let seqs: Vec<_> =
                    data["messages"].as_array().unwrap().iter().map(|m| m["seqId"].as_i64().unwrap()).collect();
                let id = data["conversationId"].as_str().unwrap().to_owned();
                results.push((id, seqs, data["recovered"].as_bool().unwrap()));
            }
        }
    }
    let expected = [("group_5", vec![3, 4, 5], true), ("group_6", vec![], false), ("world", vec![], true)];
    assert_eq!(results, expected.map(|(id, seqs, recovered)| (id.to_owned(), seqs, recovered)));
    client.send(json!({"type": "sync", "data": {"positions": {"group_5": 0}, "limit": 2}})).await;
    let part = client.frame().await;
    assert_eq!((&part["data"]["hasMore"], &part["data"]["recovered"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn a_read_receipt_never_goes_back() {
    let (gateway, mut client) = connected().await;
    let mark = |conversation, user, seq| Sequenced {
        kind: Kind::ReadMark,
        target_seq: Some(Seq(seq)),
        ..message(conversation, user, 0, "")
    };
    let (pair, group) = (single(1, 2), ConversationId::Group(GroupId(5)));
    let marks =
        [mark(pair, 2, 4), mark(pair, 2, 2), mark(pair, 2, 4), mark(pair, 1, 2), mark(group, 2, 1), mark(pair, 2, 5)];
    gateway.deliver(EPOCH, &[1], &marks, None).await;
    for (conversation, user, seq) in [(pair, 2, 4), (pair, 1, 2), (group, 2, 1), (pair, 2, 5)] {
        let data = json!({"conversationId": conversation.to_string(), "userId": user.to_string(), "seqId": seq});
        assert_eq!(client.frame().await, json!({"type": "read-receipt", "data": data}));
    }
    client.nothing_came().await;
}
