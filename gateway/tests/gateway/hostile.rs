//! What one user does over many sockets, or asks of the repo, is bounded; and who reads slowly catches up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::{GatewayConfig, Writers};
use schemas::ids::{ConversationId, UserId};
use schemas::pb;
use serde_json::{Value, json};

use crate::harness::{Client, EPOCH, Gateway, connected, gateway, gateway_with, message, say, single, within};

#[tokio::test]
async fn many_users_are_one_call_to_the_repo() {
    let gateway = gateway().await;
    let ids: Vec<_> = (1..=50).map(|id| id.to_string()).collect();
    let path = format!("/api/users/by-id?userIds={}", ids.join(","));
    let (status, found) = gateway.request("GET", &path, Some(&gateway.token(1)), None).await;
    assert_eq!((status, found["users"].as_array().unwrap().len()), (200, 50));
    assert_eq!(gateway.repo.user_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn calls_of_one_user_over_their_share_wait_while_others_are_answered() {
    let config = GatewayConfig { repo_calls_a_user_max: 2, repo_timeout_ms: 1_000, ..Default::default() };
    let gateway = gateway_with(config).await;
    let slow = async |user| {
        let token = gateway.token(user);
        gateway.request("GET", "/api/users?username=slow", Some(&token), None).await
    };
    let are_slow = async |count| {
        within(async {
            while gateway.repo.slow_calls.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    // Their sign-ins are known, so that what follows is one call each.
    for user in [1, 2] {
        assert_eq!(gateway.request("GET", "/api/users/me", Some(&gateway.token(user)), None).await.0, 200);
    }
    let calls = async { tokio::join!(slow(1), slow(1), slow(1), slow(1), slow(1)) };
    let others = async {
        are_slow(2).await;
        assert_eq!(gateway.request("GET", "/api/users/me", Some(&gateway.token(2)), None).await.0, 200);
        let token = gateway.token(1);
        let waits = gateway.request("GET", "/api/users/me", Some(&token), None);
        let waited = tokio::time::timeout(Duration::from_millis(300), waits).await;
        assert!(waited.is_err(), "{waited:?}");
        assert_eq!(gateway.repo.slow_calls.load(Ordering::SeqCst), 2);
    };
    let (all, ()) = tokio::join!(calls, others);
    assert_eq!(all.2.0, 503, "{}", all.2.1);
    assert_eq!(gateway.request("GET", "/api/users/me", Some(&gateway.token(2)), None).await.0, 200);
}

#[tokio::test]
async fn a_frame_counts_as_what_it_makes() {
    let users = |count| json!({"userIds": (1..=count).map(|id: i64| id.to_string()).collect::<Vec<_>>()});
    let positions = |count| {
        let positions = (1..=count).map(|id: i64| (format!("group_{id}"), json!(0)));
        json!({"positions": positions.collect::<serde_json::Map<_, _>>()})
    };
    for (kind, data, allowed) in [
        ("subscribe-presence", users(10), true),
        ("subscribe-presence", users(11), false),
        ("sync", positions(10), true),
        ("sync", positions(11), false),
    ] {
        let config = GatewayConfig { frames_a_second_a_user: 11, rate_burst_s: 1, ..Default::default() };
        let gateway = gateway_with(config).await;
        let mut client = gateway.connect(1).await;
        client.send(json!({"type": "ping"})).await;
        client.send(json!({"type": kind, "data": data, "id": "x"})).await;
        assert_eq!(client.frame().await["type"], "pong");
        let answer = client.frame().await;
        assert_eq!(answer["data"]["code"] != 1007, allowed, "{kind}: {answer}");
    }
}

/// Messages for the socket of user 1, who reads nothing, until user 2 has read them all.
async fn flood(gateway: &Gateway, quick: &mut Client, count: i64) {
    let content = "x".repeat(8_000);
    for batch in 0..count / 10 {
        let messages: Vec<_> =
            (batch * 10 + 1..=batch * 10 + 10).map(|seq| message(single(1, 2), 3, seq, &content)).collect();
        gateway.deliver(EPOCH, &[1, 2], &messages, None).await;
        for _ in &messages {
            quick.frame_of("message").await;
        }
    }
}

#[tokio::test]
async fn who_reads_slowly_gets_heads_in_place_of_what_was_dropped() {
    const COUNT: i64 = 4_000;
    let gateway = gateway().await;
    let (mut slow, mut quick) = (gateway.connect(1).await, gateway.connect(2).await);
    slow.send(json!({"type": "subscribe-presence", "data": {"userIds": ["2"]}})).await;
    assert_eq!(slow.frame().await["data"]["online"], true);
    let conversation_id = single(1, 2).to_string();
    let head = pb::ConversationHead { conversation_id: conversation_id.clone(), last_seq: COUNT };
    gateway.repo.heads.lock().unwrap().push(head);
    flood(&gateway, &mut quick, COUNT).await;
    let mut seq = 0;
    let head = loop {
        let frame = slow.frame().await;
        match frame["type"].as_str() {
            // The first of them came before anything was dropped.
            Some("heads") if seq > 1 && seq < COUNT => break frame,
            Some("heads" | "presence") => {}
            _ => {
                assert_eq!(frame["data"]["seqId"], seq + 1, "{frame}");
                seq += 1;
            }
        }
    };
    assert!(seq < COUNT, "{seq}");
    assert_eq!(head["data"]["heads"][&conversation_id], COUNT);
    gateway.deliver(EPOCH, &[1], &[message(single(1, 2), 3, COUNT + 1, "and on")], None).await;
    assert_eq!(slow.frame_of("message").await["data"]["content"], "and on");
    slow.nothing_came().await;
}

#[tokio::test]
async fn a_sync_of_more_than_a_page_says_that_there_is_more() {
    let (gateway, mut client) = connected().await;
    let stored = |seq_id| pb::Message {
        conversation_id: ConversationId::World.to_string(),
        seq_id,
        kind: "text".into(),
        content: "x".repeat(8_000),
        ..Default::default()
    };
    gateway.store((1..=40).map(stored));
    let mut seen = Vec::new();
    loop {
        let after = seen.last().cloned().unwrap_or_else(|| json!(0));
        client.send(json!({"type": "sync", "data": {"positions": {"world": after}, "limit": 200}})).await;
        let page = client.frame_of("sync-result").await;
        assert!(page.to_string().len() <= GatewayConfig::default().sync_page_bytes_max);
        let more = page["data"]["hasMore"] == true;
        assert_eq!(page["data"]["recovered"], !more);
        seen.extend(page["data"]["messages"].as_array().unwrap().iter().map(|m| m["seqId"].clone()));
        if !more {
            break;
        }
    }
    assert_eq!(seen, (1..=40).map(Value::from).collect::<Vec<_>>());
}

/// Sends a message; the code of the error, if it is refused.
async fn refused(client: &mut Client, conversation: &str, key: &str, content: &str) -> Option<i64> {
    client.send(say(conversation, key, content)).await;
    loop {
        let frame = client.frame().await;
        if frame["data"]["clientMsgId"] == key {
            return frame["data"]["code"].as_i64();
        }
        assert_eq!(frame["type"], "heads", "{frame}");
    }
}

#[tokio::test]
async fn only_writers_say_something_to_many_and_all_may_react() {
    let config =
        GatewayConfig { world_writers: vec![UserId(2)], large_group_writers: Writers::Admins, ..Default::default() };
    let gateway = gateway_with(config).await;
    let (mut ann, mut ben) = (gateway.connect(1).await, gateway.connect(2).await);
    assert_eq!(refused(&mut ann, "world", "a", "hi").await, Some(1002));
    assert_eq!(refused(&mut ben, "world", "b", "hi").await, None);
    assert_eq!(refused(&mut ann, "group_6", "c", "hi").await, None, "an admin");
    assert_eq!(refused(&mut ben, "group_6", "d", "hi").await, Some(1002));
    assert_eq!(refused(&mut ben, "group_5", "e", "hi").await, None, "a group that is not large");
    let mark = json!({"type": "mark-read", "id": "m", "data": {"conversationId": "group_6", "seqId": 1}});
    ben.send(mark).await;
    assert_eq!(refused(&mut ben, &single(1, 2).to_string(), "f", "hi").await, None, "the mark was no error");
}

#[tokio::test]
async fn what_all_users_say_in_one_conversation_is_bounded_and_other_conversations_go_on() {
    let config = GatewayConfig {
        rate_burst_s: 1,
        messages_a_second_a_crowd: 2,
        content_bytes_a_second_a_crowd: 8_192,
        messages_a_second_a_conversation: 3,
        content_bytes_a_second_a_user: 8_192,
        ..Default::default()
    };
    let gateway = gateway_with(config).await;
    let (mut ann, mut ben) = (gateway.connect(1).await, gateway.connect(2).await);
    let mut world = Vec::new();
    for key in 0..4 {
        let client = if key % 2 == 0 { &mut ann } else { &mut ben };
        world.push(refused(client, "world", &format!("w{key}"), "hi").await);
    }
    assert_eq!(world, [None, None, Some(1007), Some(1007)]);
    assert_eq!(refused(&mut ben, "group_6", "g", "hi").await, None, "another one that goes to many");
    for key in 0..3 {
        assert_eq!(refused(&mut ann, &single(1, 2).to_string(), &format!("s{key}"), "hi").await, None);
    }
    assert_eq!(refused(&mut ann, &single(1, 2).to_string(), "s3", "hi").await, Some(1007));
    let mut long = Vec::new();
    for key in 0..3 {
        long.push(refused(&mut ben, "group_5", &format!("l{key}"), &"x".repeat(4_090)).await);
    }
    assert_eq!(long, [None, None, Some(1007)], "bytes of the user");
    assert_eq!(refused(&mut ann, "group_5", "short", "hi").await, None);
}

#[tokio::test]
async fn while_the_chain_is_late_each_user_has_a_share_and_none_once_it_is_too_late() {
    let config = GatewayConfig {
        late_wait_ms: 0,
        late_messages_a_second_a_user: 1,
        busy_wait_ms_max: 4_000,
        ..Default::default()
    };
    let gateway = gateway_with(config).await;
    let (mut ann, mut ben) = (gateway.connect(1).await, gateway.connect(2).await);
    gateway.log.lag_records.store(1, Ordering::SeqCst);
    say_until(&mut ann, "late", 300, |code| code == Some(1008)).await;
    assert_eq!(refused(&mut ben, "group_5", "b", "hi").await, None, "another one has not used up their share");
    // Slowly, within the share.
    say_until(&mut ben, "too-late", 1_200, |code| code == Some(1008)).await;
    gateway.log.lag_records.store(0, Ordering::SeqCst);
    say_until(&mut ann, "in-time", 300, |code| code.is_none()).await;
}

/// Says something, with pauses, until it is answered so.
async fn say_until(client: &mut Client, key: &str, pause_ms: u64, answered: impl Fn(Option<i64>) -> bool) {
    within(async {
        for number in 0.. {
            if answered(refused(client, "group_5", &format!("{key}-{number}"), "hi").await) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    })
    .await;
}
