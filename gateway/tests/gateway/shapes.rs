//! Frames and answers, letter by letter.

use schemas::ids::{ConversationId, GroupId, Seq};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use serde_json::{Value, json};

use crate::harness::{EPOCH, connected, gateway, message, single};

#[tokio::test]
async fn hello_and_pong_look_like_this() {
    let gateway = gateway().await;
    let mut client = gateway.open(&format!("/ws?token={}", gateway.token(1))).await;
    let hello = json!({"type": "hello", "data": {"userId": "1", "sessionId": "10", "serverTime": "2027-01-15T08:00:00.000Z",
        "heartbeatSeconds": 30, "resendWindowSeconds": 600, "protocol": 1}});
    assert_eq!(client.frame().await, hello);
    client.send(json!({"type": "ping", "id": "p"})).await;
    let pong = json!({"type": "pong", "id": "p", "data": {"serverTime": "2027-01-15T08:00:00.000Z"}});
    assert_eq!(client.frame().await, pong);
}

async fn check(delivered: Sequenced, expected: Value) {
    let (gateway, mut client) = connected().await;
    gateway.deliver(EPOCH, &[1], &[delivered], None).await;
    assert_eq!(client.frame().await, expected);
}

#[tokio::test]
async fn a_message_looks_like_this() {
    let expected = json!({"type": "message", "data": {"conversationId": "single_1_2", "messageId": "9007199254740994",
        "seqId": 1, "senderId": "2", "messageType": "text", "content": "a \"b\" ü", "clientMsgId": "key-1",
        "createdAt": "2027-01-15T08:00:00.001Z", "event": "message"}});
    check(message(single(1, 2), 2, 1, "a \"b\" ü"), expected).await;
}

#[tokio::test]
async fn a_reaction_that_is_taken_back_looks_like_this() {
    let reaction = Sequenced {
        kind: Kind::Reaction,
        target_seq: Some(Seq(1)),
        remove: true,
        ..message(ConversationId::Group(GroupId(5)), 2, 2, "👍")
    };
    let expected = json!({"type": "message", "data": {"conversationId": "group_5", "messageId": "9007199254740995",
        "seqId": 2, "senderId": "2", "messageType": "reaction", "content": "👍", "clientMsgId": "key-2",
        "createdAt": "2027-01-15T08:00:00.002Z", "event": "reaction", "targetSeqId": 1, "remove": true}});
    check(reaction, expected).await;
}

#[tokio::test]
async fn a_read_receipt_looks_like_this() {
    let mark = Sequenced { kind: Kind::ReadMark, target_seq: Some(Seq(4)), ..message(single(1, 2), 2, 0, "") };
    let expected = json!({"type": "read-receipt", "data": {"conversationId": "single_1_2", "userId": "2", "seqId": 4}});
    check(mark, expected).await;
}

#[tokio::test]
async fn message_stored_looks_like_this() {
    let (gateway, mut client) = connected().await;
    client.say("world", "key-3").await;
    client.frame_of("message-ack").await;
    let origin = gateway.upstream(1).await[0].1.origin;
    gateway.deliver(EPOCH, &[], &[message(ConversationId::World, 1, 3, "hello")], origin).await;
    let expected = json!({"type": "message-stored", "data": {"clientMsgId": "key-3", "conversationId": "world",
        "messageId": "9007199254740996", "seqId": 3, "createdAt": "2027-01-15T08:00:00.003Z"}});
    assert_eq!(client.frame().await, expected);
}
