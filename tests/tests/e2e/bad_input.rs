//! Bad input gets the code of the protocol, and harms nothing.

use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::client::{connect, receive_type};
use tests::users::{Talker, served, text, with};
use tokio_tungstenite::tungstenite::Message;

fn say(conversation: &str, id: &str, content: &str) -> String {
    let data = with(text(conversation, content), json!({"clientMsgId": id}));
    json!({"type": "send-message", "data": data}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_frame_gets_its_code_and_the_socket_goes_on() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let foreign = bob.pair_with(&eve);
    let group = api.group(&bob, "without ann", std::slice::from_ref(&eve.user_id)).await;
    let to_bob = ann.pair_with(&bob);
    let nobody = format!("single_1_{}", ann.user_id);
    let long = "x".repeat(8_193);

    let frames: Vec<(String, u64)> = vec![
        ("not json".into(), 1000),
        ("[]".into(), 1000),
        (json!({"type": "dance", "data": {}}).to_string(), 1000),
        (json!({"type": "send-message", "data": {"conversationId": to_bob}}).to_string(), 1000),
        (json!({"type": "send-message"}).to_string(), 1000),
        (say(&to_bob, "", "x"), 1000),
        (say(&to_bob, &"i".repeat(65), "x"), 1000),
        (say(&to_bob, "nul", "a\0b"), 1000),
        (say(&to_bob, "empty", ""), 1000),
        (say(&to_bob, "long", &long), 1010),
        (say("nowhere", "n", "x"), 1000),
        (say(&foreign, "f", "x"), 1004),
        (say(&group, "g", "x"), 1004),
        (say("group_123456789", "g2", "x"), 1004),
        (say(&nobody, "u", "x"), 1001),
        (json!({"type": "sync", "data": {"positions": {(to_bob.clone()): 0}, "limit": 100_000}}).to_string(), 1000),
        (
            json!({"type": "edit-message", "data": {
            "clientMsgId": "e", "conversationId": to_bob, "targetSeqId": 99, "content": "x"}})
            .to_string(),
            1004,
        ),
    ];
    let mut anns = Talker::connect(&server, &ann).await;
    for (frame, code) in frames {
        anns.socket.send(Message::text(frame.clone())).await.unwrap();
        let error = receive_type(&mut anns.socket, "error").await.unwrap_or_else(|e| panic!("{frame}: {e}"));
        assert_eq!(error["code"], code, "{} {error}", &frame[..frame.len().min(200)]);
        assert!(error["name"].is_string() && error["message"].is_string() && error["retryable"].is_boolean());
    }
    anns.socket.send(Message::text(say(&to_bob, "fine", "still here"))).await.unwrap();
    let ack = anns.hears("message-ack").await;
    assert_eq!(ack, json!({"clientMsgId": "fine", "tempMessageId": "fine", "status": "accepted"}));
    let stored = anns.hears("message-stored").await;
    assert_eq!(stored["seqId"], 1, "nothing of the bad input was stored: {stored}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_limit_closes_its_own_socket_only() {
    let (server, _, [ann]) = served(["ann"]).await;
    let [mut good, mut bad] = Talker::all(&server, [&ann, &ann]).await;
    // The server may hang up while the frame is still on its way.
    let _ = bad.socket.send(Message::text("x".repeat(4 << 20))).await;
    let ended = async { while let Some(Ok(_)) = bad.socket.next().await {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the socket is closed");
    good.socket.send(Message::text(json!({"type": "ping", "id": "7"}).to_string())).await.unwrap();
    good.hears("pong").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_without_a_good_token_are_turned_away() {
    let (server, _, [ann]) = served(["ann"]).await;
    let forged = format!("{}x", ann.token);
    for token in ["", "nonsense", &forged] {
        let refused = match connect(server.http, token).await {
            Err(e) => e,
            Ok(mut socket) => receive_type(&mut socket, "hello").await.expect_err("no hello"),
        };
        assert!(refused.contains("4001") || refused.contains("401"), "{token:?}: {refused}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_gets_its_code() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let pair = ann.pair_with(&bob);
    let foreign = bob.pair_with(&eve);
    let group = api.group(&bob, "tea", &[]).await.replace("group_", "");
    let get = |path: String| (Method::GET, path, Some(ann.token.clone()), None);
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), Some(ann.token.clone()), Some(body));
    let calls = vec![
        (get(format!("/api/conversations/{pair}/messages?limit=100000")), 400, 1000),
        (get(format!("/api/conversations/{pair}/messages?limit=x")), 400, 1000),
        (get(format!("/api/conversations/{foreign}/messages")), 404, 1004),
        (get("/api/conversations/group_5/messages".into()), 404, 1004),
        (get("/api/conversations/elsewhere/messages".into()), 400, 1000),
        (get("/api/conversations?cursor=forged".into()), 400, 1000),
        (get("/api/users?username=nobody".into()), 404, 1001),
        (get(format!("/api/groups/{group}")), 404, 1004),
        (get("/api/groups/77".into()), 404, 1004),
        (post("/api/auth/register", json!({"username": "ann", "password": "correct horse"})), 409, 1009),
        (post("/api/auth/register", json!({"username": "a", "password": "correct horse"})), 400, 1000),
        (post("/api/auth/register", json!({"username": "zoe", "password": "short"})), 400, 1000),
        (post("/api/auth/login", json!({"username": "ann", "password": "wrong horse"})), 401, 1006),
        (post("/api/auth/login", json!({"username": "nobody", "password": "wrong horse"})), 401, 1006),
        (post("/api/auth/refresh", json!({"refreshToken": "made up"})), 401, 1006),
        (post("/api/groups", json!({"name": "", "memberIds": []})), 400, 1000),
        (post("/api/groups", json!({"name": "x", "memberIds": ["12"]})), 404, 1001),
        (post(&format!("/api/conversations/{pair}/read"), json!({"seqId": -1})), 400, 1000),
    ];
    for ((method, path, token, body), status, code) in calls {
        let (had, answer) = api.call(method, &path, token.as_deref(), body).await;
        assert_eq!((had.as_u16(), &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
    }
    for token in [None, Some("nonsense".to_owned()), Some(format!("{}x", ann.token))] {
        let (status, answer) = api.call(Method::GET, "/api/users/me", token.as_deref(), None).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!(1006)), "{answer}");
    }
    let huge = json!({"username": "zoe", "password": "x".repeat(4 << 20)});
    let (status, answer) = api.call(Method::POST, "/api/auth/register", None, Some(huge)).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (413, &json!(1010)), "{answer}");
    assert!(server.stop().await.success());
}
