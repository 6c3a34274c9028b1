//! From a client to the log.

use std::sync::atomic::Ordering;

use futures::SinkExt;
use gateway::GatewayConfig;
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::{GroupEvent, Sequenced};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use topics::headers::Origin;

use crate::harness::{EPOCH, NOW, SLOT, connected, gateway, gateway_with, message, say, stored, within};
use crate::log::Gate;

#[tokio::test]
async fn the_ack_comes_only_after_the_log_has_the_message() {
    let (gateway, mut client) = connected().await;
    gateway.log.gate.send_replace(Gate::Held);
    client.say("single_1_2", "a").await;
    gateway.is_appending().await;
    // Answers keep the order of their frames, so the pong of a later ping shows that nothing came.
    client.send(json!({"type": "ping"})).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), client.frame()).await;
    assert!(early.is_err(), "{early:?}");
    gateway.log.gate.send_replace(Gate::Open);
    let expected = json!({"type": "message-ack", "id": "id-a",
        "data": {"clientMsgId": "a", "tempMessageId": "a", "status": "accepted"}});
    assert_eq!(client.frame().await, expected);
    assert_eq!(client.frame().await["type"], "pong");
    let (record, headers) = gateway.upstream(1).await.remove(0);
    assert_eq!((&*record.content, record.sender_id.0, record.kind), ("hello", 1, Kind::Text));
    assert_eq!(headers.origin, Some(Origin { slot: SLOT, epoch: EPOCH, socket: headers.origin.unwrap().socket }));
    assert_eq!(headers.hops.unwrap().admitted_at, NOW);
    assert!(headers.trace.is_some());
}

#[tokio::test]
async fn many_sends_of_a_socket_are_acked_in_order_and_appended_in_order() {
    let (gateway, mut client) = connected().await;
    for n in 0..300 {
        client.say(if n % 2 == 0 { "world" } else { "group_5" }, &n.to_string()).await;
    }
    for n in 0..300 {
        assert_eq!(client.frame_of("message-ack").await["data"]["clientMsgId"], n.to_string());
    }
    let keys = |conversation: &'static str, records: &[(schemas::records::Upstream, _)]| -> Vec<u32> {
        let of = |(record, _): &(schemas::records::Upstream, topics::headers::Headers)| {
            (record.conversation_id.to_string() == conversation).then(|| record.client_msg_id.parse().unwrap())
        };
        records.iter().filter_map(of).collect()
    };
    let records = gateway.upstream(300).await;
    for conversation in ["world", "group_5"] {
        let keys = keys(conversation, &records);
        assert_eq!(keys.len(), 150);
        assert!(keys.is_sorted(), "{conversation} {keys:?}");
    }
}

#[tokio::test]
async fn a_log_that_refuses_is_busy_and_says_nothing_of_its_inside() {
    let (gateway, mut client) = connected().await;
    gateway.log.gate.send_replace(Gate::Refusing);
    client.say("world", "a").await;
    let error = client.frame().await;
    assert_eq!(
        (&error["type"], &error["data"]["code"], &error["data"]["clientMsgId"]),
        (&json!("error"), &json!(1008), &json!("a"))
    );
    assert_eq!(error["data"]["retryable"], true);
    assert!(!error.to_string().contains("secret"));
    gateway.log.gate.send_replace(Gate::Open);
    client.say("world", "a").await;
    assert_eq!(client.frame().await["type"], "message-ack");
}

#[tokio::test]
async fn messages_are_refused_with_busy_while_the_chain_is_behind() {
    let config = GatewayConfig { busy_lag_records_max: 10, messages_a_second_a_crowd: 1_000_000, ..Default::default() };
    let gateway = gateway_with(config).await;
    let mut client = gateway.connect(1).await;
    // Together over the limit: what any stage before the store has not taken counts.
    gateway.log.lag_records.store(4, Ordering::SeqCst);
    gateway.log.earlier_lag_records.store(7, Ordering::SeqCst);
    within(async {
        loop {
            client.say("world", "a").await;
            let answer = client.frame().await;
            if answer["type"] == "error" {
                assert_eq!(answer["data"]["code"], 1008);
                break;
            }
        }
    })
    .await;
    gateway.log.earlier_lag_records.store(6, Ordering::SeqCst);
    within(async {
        loop {
            client.say("world", "a").await;
            if client.frame().await["type"] == "message-ack" {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn rights_are_asked_once_for_a_while() {
    let (gateway, mut client) = connected().await;
    for n in 0..20 {
        client.say("group_5", &n.to_string()).await;
        client.frame_of("message-ack").await;
    }
    assert_eq!(gateway.repo.access_calls.load(Ordering::SeqCst), 1);
}

/// A frame about a message of group 5, with more fields in its data.
fn about(name: &str, key: &str, seq: i64, more: serde_json::Value) -> serde_json::Value {
    let mut frame =
        json!({"type": name, "data": {"clientMsgId": key, "conversationId": "group_5", "targetSeqId": seq}});
    let serde_json::Value::Object(more) = more else { panic!("{more} is no object") };
    frame["data"].as_object_mut().unwrap().extend(more);
    frame
}

#[tokio::test]
async fn edits_recalls_reactions_and_read_marks_reach_the_log() {
    let gateway = gateway().await;
    gateway.store([stored(4, 1)]);
    let mut client = gateway.connect(1).await;
    client.send(about("edit-message", "e", 4, json!({"content": "better"}))).await;
    client.send(about("react", "r", 4, json!({"emoji": "👍", "remove": true}))).await;
    client.send(about("recall-message", "x", 4, json!({}))).await;
    client.send(json!({"type": "mark-read", "data": {"conversationId": "group_5", "seqId": 4}})).await;
    for key in ["e", "r", "x"] {
        assert_eq!(client.frame().await["data"]["clientMsgId"], key);
    }
    client.nothing_came().await;
    let records: Vec<_> = gateway.upstream(4).await.into_iter().map(|(record, _)| record).collect();
    let kinds: Vec<_> = records.iter().map(|record| record.kind.name().to_owned()).collect();
    assert_eq!(kinds, ["edit", "reaction", "recall", "read-mark"]);
    assert!(records.iter().all(|record| record.target_seq.unwrap().0 == 4));
    assert!(records[1].remove);
}

#[tokio::test]
async fn what_dedupe_would_take_for_a_repeat_of_something_else_is_refused_before_the_ack() {
    let gateway = gateway().await;
    let stored = |seq, sender, key: &str| pb::Message { client_msg_id: key.into(), ..stored(seq, sender) };
    gateway.store([stored(4, 1, "own"), stored(5, 2, "of another")]);
    let mut client = gateway.connect(1).await;
    let edit = json!({"content": "better"});
    let refused = [
        about("edit-message", "own", 4, edit.clone()),
        about("recall-message", "own", 4, json!({})),
        about("react", "own", 4, json!({"emoji": "👍"})),
    ];
    for frame in refused {
        client.send(frame.clone()).await;
        let error = client.frame().await;
        assert_eq!((&error["type"], &error["data"]["code"]), (&json!("error"), &json!(1000)), "{frame}");
        assert!(error["data"]["message"].as_str().unwrap().contains("new one"), "{error}");
    }
    // The keys of others are theirs; the same request again is a repeat.
    client.send(about("react", "of another", 5, json!({"emoji": "👍"}))).await;
    assert_eq!(client.frame().await["type"], "message-ack");
    for _ in 0..2 {
        client.send(about("edit-message", "e", 4, edit.clone())).await;
        assert_eq!(client.frame().await["type"], "message-ack");
    }
    let others = [
        about("edit-message", "e", 4, json!({"content": "best"})),
        about("recall-message", "e", 4, json!({})),
        say("group_5", "e", "better"),
    ];
    for frame in others {
        client.send(frame.clone()).await;
        let error = client.frame().await;
        assert_eq!((&error["data"]["code"], &error["data"]["clientMsgId"]), (&json!(1000), &json!("e")), "{frame}");
    }
    client.say("world", "e").await;
    assert_eq!(client.frame().await["type"], "message-ack", "another conversation has keys of its own");
    assert_eq!(gateway.upstream(4).await.len(), 4);
}

#[tokio::test]
async fn who_was_removed_from_a_group_is_refused_as_soon_as_the_gateway_hears_of_it() {
    let gateway = gateway().await;
    let group = ConversationId::Group(GroupId(5));
    let (mut removed, mut member) = (gateway.connect(1).await, gateway.connect(2).await);
    for (n, kind) in [Kind::Removed, Kind::Left, Kind::Dissolved].into_iter().enumerate() {
        gateway.repo.former_members.lock().unwrap().clear();
        removed.say("group_5", &format!("before-{n}")).await;
        assert_eq!(removed.frame_of("message-ack").await["data"]["status"], "accepted");
        gateway.repo.former_members.lock().unwrap().insert(1);
        let about = if kind == Kind::Dissolved { vec![] } else { vec![UserId(1)] };
        let event = GroupEvent {
            group_id: GroupId(5),
            version: 9,
            actor_id: UserId(2),
            user_ids: about,
            name: None,
            role: None,
        };
        let content = serde_json::to_string(&event).unwrap();
        let event = Sequenced { kind, ..message(group, 2, 10 + i64::try_from(n).unwrap(), &content) };
        gateway.deliver(EPOCH, &[1, 2], &[event], None).await;
        removed.frame_of("message").await;
        removed.say("group_5", &format!("after-{n}")).await;
        assert_eq!(removed.frame().await["data"]["code"], 1004);
    }
    member.say("group_5", "mine").await;
    assert_eq!(member.frame_of("message-ack").await["data"]["clientMsgId"], "mine");
}

#[tokio::test]
async fn a_client_that_goes_on_in_spite_of_rate_limits_is_closed_with_4029() {
    let config =
        GatewayConfig { frames_a_second_a_user: 1, rate_burst_s: 3, rate_refusals_max: 2, ..Default::default() };
    let gateway = gateway_with(config).await;
    let mut client = gateway.connect(1).await;
    for n in 0..8 {
        client.send(say("world", &n.to_string(), "x")).await;
    }
    for _ in 0..3 {
        assert_eq!(client.frame().await["type"], "message-ack");
    }
    let error = client.frame().await;
    assert_eq!((&error["data"]["code"], &error["data"]["clientMsgId"]), (&json!(1007), &json!("3")));
    assert_eq!(client.closed().await, 4029);
}

#[tokio::test]
async fn pings_and_pongs_count_as_frames() {
    let config =
        GatewayConfig { frames_a_second_a_user: 1, rate_burst_s: 3, rate_refusals_max: 2, ..Default::default() };
    for message in [Message::Ping("x".into()), Message::Pong("x".into())] {
        let gateway = gateway_with(config.clone()).await;
        let (mut client, mut other) = (gateway.connect(1).await, gateway.connect(2).await);
        for _ in 0..8 {
            // It may be closed already.
            let _ = within(client.stream.send(message.clone())).await;
        }
        assert_eq!(client.closed().await, 4029, "{message:?}");
        other.nothing_came().await;
    }
}
