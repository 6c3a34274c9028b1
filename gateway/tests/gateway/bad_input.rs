//! Everything a client can get wrong in a frame: the code it gets, and that the socket lives on.

use schemas::pb;
use serde_json::{Value, json};

use crate::harness::{Client, NOW, connected, gateway, say, stored};
use crate::repo::{LATE, LATE_READS_FROM};

async fn check(client: &mut Client, text: String, code: u16, id: Value, key: Value) {
    let shown: String = text.chars().take(120).collect();
    client.send_text(text).await;
    let error = client.frame().await;
    assert_eq!(error["type"], "error", "{shown} {error}");
    assert_eq!(
        (&error["data"]["code"], &error["id"], &error["data"]["clientMsgId"]),
        (&json!(code), &id, &key),
        "{shown} {error}"
    );
}

#[tokio::test]
async fn a_bad_frame_gets_its_code_and_the_socket_lives_on() {
    let (gateway, mut client) = connected().await;
    let no = Value::Null;
    for text in ["", "hello", "{", "[]", "null", "7", r#"{"data":{}}"#, r#"{"type":7}"#] {
        check(&mut client, text.into(), 1000, no.clone(), no.clone()).await;
    }
    check(&mut client, json!({"type": "fly", "id": "x"}).to_string(), 1000, json!("x"), no.clone()).await;
    for field in ["clientMsgId", "conversationId", "messageType", "content"] {
        let mut frame = say("world", "k", "hi");
        frame["data"].as_object_mut().unwrap().remove(field);
        let key = if field == "clientMsgId" { no.clone() } else { json!("k") };
        check(&mut client, frame.to_string(), 1000, json!("id-k"), key.clone()).await;
        frame["data"][field] = json!(5);
        check(&mut client, frame.to_string(), 1000, json!("id-k"), key).await;
    }
    for (conversation, content, code) in [
        ("worlds", "hi", 1000),
        ("single_2_1", "hi", 1000),
        ("world", "", 1000),
        ("world", "a\0b", 1000),
        ("world", "x".repeat(8_193).as_str(), 1010),
        ("single_2_3", "hi", 1004),
        ("single_1_500", "hi", 1001),
        ("group_7", "hi", 1004),
    ] {
        check(&mut client, say(conversation, "k", content).to_string(), code, json!("id-k"), json!("k")).await;
    }
    let long = "k".repeat(65);
    check(&mut client, say("world", &long, "hi").to_string(), 1000, json!(format!("id-{long}")), json!(long)).await;
    client.say("world", "fine").await;
    assert_eq!(client.frame().await["type"], "message-ack");
    assert_eq!(gateway.upstream(1).await.len(), 1, "nothing else reached the log");
}

#[tokio::test]
async fn to_who_is_no_member_a_group_is_not_there() {
    let gateway = gateway().await;
    let mut stranger = gateway.connect(9).await;
    check(&mut stranger, say("group_5", "k", "hi").to_string(), 1004, json!("id-k"), json!("k")).await;
}

#[tokio::test]
async fn a_message_from_before_one_joined_is_not_there_to_change_or_react_to() {
    let gateway = gateway().await;
    let stored = |seq, kind: &str, recalled| pb::Message { kind: kind.into(), recalled, ..stored(seq, 1) };
    let before = [stored(1, "text", false), stored(2, "text", true), stored(LATE_READS_FROM, "text", false)];
    gateway.repo.messages.lock().unwrap().extend(before);
    let mut late = gateway.connect(LATE).await;
    let ask = |name: &str, seq: i64| {
        let data =
            json!({"clientMsgId": "k", "conversationId": "group_5", "targetSeqId": seq, "content": "x", "emoji": "👍"});
        json!({"type": name, "data": data})
    };
    for name in ["edit-message", "recall-message", "react"] {
        late.send(ask(name, 99)).await;
        let nowhere = late.frame().await;
        assert_eq!(nowhere["data"]["code"], 1004, "{nowhere}");
        for seq in [1, 2] {
            late.send(ask(name, seq)).await;
            assert_eq!(late.frame().await, nowhere, "{name} {seq}: nothing tells that it was there");
        }
    }
    late.send(ask("react", LATE_READS_FROM)).await;
    assert_eq!(late.frame().await["type"], "message-ack");
}

#[tokio::test]
async fn an_array_is_no_object_and_what_is_nearly_a_frame_is_none() {
    let (_gateway, mut client) = connected().await;
    for text in [
        r#"["send-message","9",["k","world","text","x"]]"#,
        r#"["ping"]"#,
        r#"{"type":"send-message","data":["k","world","text","x"]}"#,
        r#"{"type":"ping"} {"type":"ping"}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":{"ping":null}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":1.0}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":1e2}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":"1"}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":9223372036854775808}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":1,"seqId":2}}"#,
        r#"{"type":"mark-read","data":{"conversationId":"world","seqId":null}}"#,
        r#"{"type":"sync","data":{"positions":[["world",0]]}}"#,
        r#"{"type":"sync","data":{"positions":{"world":0,"world":1}}}"#,
        r#"{"type":"subscribe-presence","data":{"userIds":{"0":"1"}}}"#,
    ] {
        check(&mut client, text.into(), 1000, Value::Null, Value::Null).await;
    }
    client.send_text(r#"{"type":"ping","id":null,"data":null,"more":[[{"deep":[1]}]]}"#.into()).await;
    assert_eq!(client.frame().await["type"], "pong");
}

#[tokio::test]
async fn an_emoji_shows_something() {
    let (_gateway, mut client) = connected().await;
    for emoji in ["", " ", "\u{200B}", "\u{3164}", "\u{2800}", "\u{202E}x", "\u{2066}x\u{2069}", "\u{FE0F}"] {
        let data = json!({"clientMsgId": "k", "conversationId": "group_5", "targetSeqId": 1, "emoji": emoji});
        check(&mut client, json!({"type": "react", "data": data}).to_string(), 1000, Value::Null, json!("k")).await;
    }
}

#[tokio::test]
async fn a_resend_from_before_the_window_is_expired() {
    let (_gateway, mut client) = connected().await;
    let mut frame = say("world", "k", "hi");
    frame["data"]["sentAt"] = json!("2027-01-15T07:49:59.999Z");
    assert_eq!(NOW, 1_800_000_000_000, "2027-01-15T08:00:00Z");
    check(&mut client, frame.to_string(), 1011, json!("id-k"), json!("k")).await;
    frame["data"]["sentAt"] = json!("yesterday");
    check(&mut client, frame.to_string(), 1000, json!("id-k"), json!("k")).await;
    frame["data"]["sentAt"] = json!("2027-01-15T07:50:00.000Z");
    client.send(frame).await;
    assert_eq!(client.frame().await["type"], "message-ack");
}

#[tokio::test]
async fn only_ones_own_present_message_can_be_changed() {
    let gateway = gateway().await;
    let stored = |seq, sender, kind: &str, recalled| pb::Message { kind: kind.into(), recalled, ..stored(seq, sender) };
    let messages = [stored(1, 2, "text", false), stored(2, 1, "joined", false), stored(3, 1, "text", true)];
    gateway.repo.messages.lock().unwrap().extend(messages);
    let mut client = gateway.connect(1).await;
    for (seq, code) in [(1, 1002), (2, 1000), (3, 1000), (4, 1004), (0, 1000), (-1, 1000)] {
        for name in ["edit-message", "recall-message"] {
            let data = json!({"clientMsgId": "k", "conversationId": "group_5", "targetSeqId": seq, "content": "new"});
            check(&mut client, json!({"type": name, "data": data}).to_string(), code, Value::Null, json!("k")).await;
        }
    }
    let data = json!({"clientMsgId": "k", "conversationId": "group_5", "targetSeqId": 9, "emoji": "👍"});
    check(&mut client, json!({"type": "react", "data": data}).to_string(), 1004, Value::Null, json!("k")).await;
}

#[tokio::test]
async fn sync_and_subscriptions_have_their_bounds() {
    let (_gateway, mut client) = connected().await;
    for data in [
        json!({}),
        json!({"positions": {"world": 0}, "limit": 100_000}),
        json!({"positions": {"world": 0}, "limit": 0}),
        json!({"positions": {"world": -1}}),
        json!({"positions": {"nowhere": 1}}),
        json!({"positions": (0..201).map(|n| (format!("group_{}", n + 1), json!(0))).collect::<serde_json::Map<_, _>>()}),
    ] {
        check(&mut client, json!({"type": "sync", "data": data}).to_string(), 1000, Value::Null, Value::Null).await;
    }
    let many: Vec<_> = (1..=501).map(|n| n.to_string()).collect();
    for ids in [json!(many), json!(["x"]), json!([1]), json!(null)] {
        let frame = json!({"type": "subscribe-presence", "data": {"userIds": ids}});
        check(&mut client, frame.to_string(), 1000, Value::Null, Value::Null).await;
    }
}
