//! A conversation as people have it: pairs, groups, the world; unread counts, read marks, edits,
//! resume, sign-in; all through the public surface.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::client::{Socket, connect, receive_type, send};
use tests::server::Server;

async fn online(server: &Server, account: &Account) -> Socket {
    let mut socket = connect(server.http, &account.token).await.expect("it connects");
    let hello = receive_type(&mut socket, "hello").await.expect("hello first");
    assert_eq!(hello["userId"], account.user_id.as_str());
    assert_eq!(hello["protocol"], 1);
    socket
}

async fn say(socket: &mut Socket, conversation: &str, id: &str, content: &str) -> Value {
    let data = json!({"clientMsgId": id, "conversationId": conversation, "messageType": "text", "content": content});
    send(socket, &json!({"type": "send-message", "id": "77", "data": data})).await.unwrap();
    receive_type(socket, "message-stored").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_the_other_and_the_senders_other_devices() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let pair = ann.pair_with(&bob);
    let (mut phone, mut laptop, mut bobs) =
        (online(&server, &ann).await, online(&server, &ann).await, online(&server, &bob).await);

    let stored = say(&mut phone, &pair, "m1", "hello").await;
    assert_eq!((&stored["seqId"], &stored["clientMsgId"]), (&json!(1), &json!("m1")));
    for socket in [&mut laptop, &mut bobs] {
        let message = receive_type(socket, "message").await.unwrap();
        assert_eq!(message["messageId"], stored["messageId"]);
        assert_eq!((&message["content"], &message["seqId"]), (&json!("hello"), &json!(1)));
        assert_eq!((&message["event"], &message["messageType"]), (&json!("message"), &json!("text")));
        assert_eq!(message["senderId"], ann.user_id.as_str());
    }
    // A repeat is acknowledged and makes nothing new.
    let data = json!({"clientMsgId": "m1", "conversationId": pair, "messageType": "text", "content": "hello"});
    send(&mut phone, &json!({"type": "send-message", "data": data})).await.unwrap();
    receive_type(&mut phone, "message-ack").await.unwrap();
    assert_eq!(say(&mut phone, &pair, "m2", "again").await["seqId"], 2);
    assert_eq!(api.history(&bob, &pair).await.len(), 2);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_counts_follow_read_marks_and_receipts_are_told() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let pair = ann.pair_with(&bob);
    let (mut anns, mut bobs) = (online(&server, &ann).await, online(&server, &bob).await);
    for n in 1..=3 {
        say(&mut anns, &pair, &format!("m{n}"), "hello").await;
        receive_type(&mut bobs, "message").await.unwrap();
    }
    let row = conversation(&api, &bob, &pair).await;
    assert_eq!((&row["unread"], &row["lastSeq"], &row["readSeq"]), (&json!(3), &json!(3), &json!(0)), "{row}");
    assert_eq!(row["lastMessage"]["content"], "hello");
    assert_eq!(conversation(&api, &ann, &pair).await["unread"], 0, "one's own messages are read");

    send(&mut bobs, &json!({"type": "mark-read", "data": {"conversationId": pair, "seqId": 2}})).await.unwrap();
    let receipt = receive_type(&mut anns, "read-receipt").await.unwrap();
    assert_eq!(receipt, json!({"conversationId": pair, "userId": bob.user_id, "seqId": 2}));
    assert_eq!(conversation(&api, &bob, &pair).await["unread"], 1);

    let path = format!("/api/conversations/{pair}/read");
    for seq in [1, 2, 3] {
        let (status, answer) = api.call(Method::POST, &path, Some(&bob.token), Some(json!({"seqId": seq}))).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    let receipt = receive_type(&mut anns, "read-receipt").await.unwrap();
    assert_eq!(receipt["seqId"], 3, "marks that change nothing are told to nobody");
    assert_eq!(conversation(&api, &bob, &pair).await["readSeq"], 3);
    assert!(server.stop().await.success());
}

async fn conversation(api: &Api, account: &Account, id: &str) -> Value {
    let list = api.ok(Method::GET, "/api/conversations", account, None).await;
    let rows = list["conversations"].as_array().expect("a list");
    rows.iter().find(|row| row["conversationId"] == id).unwrap_or_else(|| panic!("{id} in {list}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_grow_and_shrink_in_the_order_of_their_conversation() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob, eve) = (api.register("ann").await, api.register("bob").await, api.register("eve").await);
    let mut bobs = online(&server, &bob).await;
    let mut eves = online(&server, &eve).await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let created = receive_type(&mut bobs, "message").await.unwrap();
    assert_eq!((&created["event"], &created["messageType"]), (&json!("system"), &json!("group-created")), "{created}");

    let path = format!("/api/groups/{}/members", group.replace("group_", ""));
    let (status, answer) =
        api.call(Method::POST, &path, Some(&ann.token), Some(json!({"userIds": [eve.user_id]}))).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    for socket in [&mut bobs, &mut eves] {
        assert_eq!(receive_type(socket, "message").await.unwrap()["messageType"], "joined");
    }
    say(&mut bobs, &group, "b1", "welcome").await;
    assert_eq!(receive_type(&mut eves, "message").await.unwrap()["content"], "welcome");
    let seen: Vec<_> = api.history(&eve, &group).await.iter().map(|m| m["messageType"].clone()).collect();
    assert_eq!(seen.last(), Some(&json!("text")), "who joins reads from there on: {seen:?}");

    let (status, _) = api.call(Method::DELETE, &format!("{path}/{}", eve.user_id), Some(&ann.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(receive_type(&mut eves, "message").await.unwrap()["messageType"], "removed");
    let (status, answer) =
        api.call(Method::GET, &format!("/api/conversations/{group}/messages"), Some(&eve.token), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let seqs: Vec<_> = api.history(&bob, &group).await.iter().map(|m| m["seqId"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_recalls_and_reactions_change_what_was_said() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let pair = ann.pair_with(&bob);
    let (mut anns, mut bobs) = (online(&server, &ann).await, online(&server, &bob).await);
    for n in 1..=2 {
        say(&mut anns, &pair, &format!("m{n}"), "frist").await;
        receive_type(&mut bobs, "message").await.unwrap();
    }
    let change = |kind: &str, id: &str, seq: i64, more: Value| {
        let mut data = json!({"clientMsgId": id, "conversationId": pair, "targetSeqId": seq});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"type": kind, "data": data})
    };
    send(&mut bobs, &change("edit-message", "e0", 1, json!({"content": "mine"}))).await.unwrap();
    assert_eq!(receive_type(&mut bobs, "error").await.unwrap()["code"], 1002, "only one's own");
    send(&mut anns, &change("edit-message", "e1", 1, json!({"content": "first"}))).await.unwrap();
    let edit = receive_type(&mut bobs, "message").await.unwrap();
    assert_eq!((&edit["event"], &edit["targetSeqId"], &edit["content"]), (&json!("edit"), &json!(1), &json!("first")));
    send(&mut anns, &change("recall-message", "r1", 2, json!({}))).await.unwrap();
    assert_eq!(receive_type(&mut bobs, "message").await.unwrap()["event"], "recall");
    send(&mut bobs, &change("react", "x1", 1, json!({"emoji": "👍"}))).await.unwrap();
    receive_type(&mut bobs, "message-stored").await.unwrap();
    let history = api.history(&bob, &pair).await;
    assert_eq!((&history[0]["content"], &history[1]["content"]), (&json!("first"), &json!("")), "{history:?}");
    assert_eq!(history.len(), 5);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_told_by_heads_and_fetched_by_sync() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let pair = ann.pair_with(&bob);
    let mut anns = online(&server, &ann).await;
    for n in 1..=5 {
        say(&mut anns, &pair, &format!("m{n}"), "are you there?").await;
    }
    let mut bobs = online(&server, &bob).await;
    let heads = receive_type(&mut bobs, "heads").await.unwrap();
    assert_eq!(heads["heads"][&pair], 5, "{heads}");
    send(&mut bobs, &json!({"type": "sync", "data": {"positions": {(pair.clone()): 1}, "limit": 2}})).await.unwrap();
    let part = receive_type(&mut bobs, "sync-result").await.unwrap();
    assert_eq!((&part["hasMore"], &part["recovered"]), (&json!(true), &json!(false)), "{part}");
    send(&mut bobs, &json!({"type": "sync", "data": {"positions": {(pair.clone()): 3}}})).await.unwrap();
    let rest = receive_type(&mut bobs, "sync-result").await.unwrap();
    let seqs: Vec<_> = rest["messages"].as_array().unwrap().iter().map(|m| m["seqId"].clone()).collect();
    assert_eq!((seqs, &rest["recovered"]), (vec![json!(4), json!(5)], &json!(true)));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_work_once_and_logout_closes_the_sockets() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let ann = api.register("ann").await;
    let refresh = |token: String| {
        let api = api.clone();
        async move { api.call(Method::POST, "/api/auth/refresh", None, Some(json!({"refreshToken": token}))).await }
    };
    let (status, first) = refresh(ann.refresh_token.clone()).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let second = first["refreshToken"].as_str().unwrap().to_owned();
    assert_eq!(refresh(ann.refresh_token.clone()).await.0, StatusCode::UNAUTHORIZED, "a second use");
    assert_eq!(refresh(second).await.0, StatusCode::UNAUTHORIZED, "revokes the whole family");

    let login = json!({"username": "ann", "password": "correct horse"});
    let (status, answer) = api.call(Method::POST, "/api/auth/login", None, Some(login)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ann = Account::from_answer(&answer, "ann");
    let mut socket = online(&server, &ann).await;
    // A token of somebody else's ends nothing, and keeps nothing alive.
    let bob = api.register("bob").await;
    let body = json!({"refreshToken": bob.refresh_token});
    let (status, _) = api.call(Method::POST, "/api/auth/logout", Some(&ann.token), Some(body)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let closed = tokio::time::timeout(Duration::from_secs(10), receive_type(&mut socket, "pong")).await.unwrap();
    assert!(closed.as_ref().is_err_and(|e| e.contains("4009")), "{closed:?}");
    assert_eq!(api.call(Method::GET, "/api/users/me", Some(&ann.token), None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(ann.refresh_token).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(bob.refresh_token).await.0, StatusCode::OK);
    assert!(server.stop().await.success());
}
