//! Bad input gets the code of the protocol, and harms nothing.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::api::Api;
use tests::client::{connect, receive_type, send};
use tests::server::Server;
use tokio_tungstenite::tungstenite::Message;

fn say(conversation: &str, id: &str, content: &str) -> Value {
    json!({"type": "send-message", "data": {
        "clientMsgId": id, "conversationId": conversation, "messageType": "text", "content": content,
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_frame_gets_its_code_and_the_socket_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob, eve) = (api.register("ann").await, api.register("bob").await, api.register("eve").await);
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
        (say(&to_bob, "", "x").to_string(), 1000),
        (say(&to_bob, &"i".repeat(65), "x").to_string(), 1000),
        (say(&to_bob, "nul", "a\0b").to_string(), 1000),
        (say(&to_bob, "empty", "").to_string(), 1000),
        (say(&to_bob, "long", &long).to_string(), 1010),
        (say("nowhere", "n", "x").to_string(), 1000),
        (say(&foreign, "f", "x").to_string(), 1004),
        (say(&group, "g", "x").to_string(), 1004),
        (say("group_123456789", "g2", "x").to_string(), 1004),
        (say(&nobody, "u", "x").to_string(), 1001),
        (json!({"type": "sync", "data": {"positions": {(to_bob.clone()): 0}, "limit": 100_000}}).to_string(), 1000),
        (
            json!({"type": "edit-message", "data": {
            "clientMsgId": "e", "conversationId": to_bob, "targetSeqId": 99, "content": "x"}})
            .to_string(),
            1004,
        ),
    ];
    let mut socket = connect(server.http, &ann.token).await.unwrap();
    receive_type(&mut socket, "hello").await.unwrap();
    for (frame, code) in frames {
        use futures::SinkExt;
        socket.send(Message::text(frame.clone())).await.unwrap();
        let error = receive_type(&mut socket, "error").await.unwrap_or_else(|e| panic!("{frame}: {e}"));
        assert_eq!(error["code"], code, "{} {error}", &frame[..frame.len().min(200)]);
        assert!(error["name"].is_string() && error["message"].is_string() && error["retryable"].is_boolean());
    }
    send(&mut socket, &say(&to_bob, "fine", "still here")).await.unwrap();
    let ack = receive_type(&mut socket, "message-ack").await.unwrap();
    assert_eq!(ack, json!({"clientMsgId": "fine", "tempMessageId": "fine", "status": "accepted"}));
    let stored = receive_type(&mut socket, "message-stored").await.unwrap();
    assert_eq!(stored["seqId"], 1, "nothing of the bad input was stored: {stored}");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_limit_closes_its_own_socket_only() {
    use futures::{SinkExt, StreamExt};
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let ann = api.register("ann").await;
    let mut good = connect(server.http, &ann.token).await.unwrap();
    let mut bad = connect(server.http, &ann.token).await.unwrap();
    receive_type(&mut bad, "hello").await.unwrap();
    // The server may hang up while the frame is still on its way.
    let _ = bad.send(Message::text("x".repeat(4 << 20))).await;
    let ended = async { while let Some(Ok(_)) = bad.next().await {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the socket is closed");
    send(&mut good, &json!({"type": "ping", "id": "7"})).await.unwrap();
    receive_type(&mut good, "pong").await.unwrap();
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_without_a_good_token_are_turned_away() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let ann = Api::new(server.http).register("ann").await;
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
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob, eve) = (api.register("ann").await, api.register("bob").await, api.register("eve").await);
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
