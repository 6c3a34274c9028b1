//! A conversation as people have it: pairs, groups, the world; unread counts, read marks, edits,
//! resume, sign-in; all through the public surface.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::api::Account;
use tests::client::{receive_type, send};
use tests::users::{Talker, served, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_the_other_and_the_senders_other_devices() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let [mut phone, mut laptop, mut bobs] = Talker::all(&server, [&ann, &ann, &bob]).await;

    let data = json!({"clientMsgId": "m1", "conversationId": pair, "messageType": "text", "content": "hello"});
    let stored = phone.put("send-message", data.clone()).await;
    assert_eq!((&stored["seqId"], &stored["clientMsgId"]), (&json!(1), &json!("m1")));
    for socket in [&mut laptop, &mut bobs] {
        let message = socket.hears("message").await;
        assert_eq!(message["messageId"], stored["messageId"]);
        assert_eq!((&message["content"], &message["seqId"]), (&json!("hello"), &json!(1)));
        assert_eq!((&message["event"], &message["messageType"]), (&json!("message"), &json!("text")));
        assert_eq!(message["senderId"], ann.user_id.as_str());
    }
    // A repeat is acknowledged and makes nothing new.
    send(&mut phone.socket, &json!({"type": "send-message", "id": "77", "data": data})).await.unwrap();
    phone.hears("message-ack").await;
    assert_eq!(phone.say(&pair, "again").await["seqId"], 2);
    assert_eq!(api.history(&bob, &pair).await.len(), 2);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_counts_follow_read_marks_and_receipts_are_told() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;
    for _ in 1..=3 {
        anns.say(&pair, "hello").await;
        bobs.hears("message").await;
    }
    let row = api.conversation(&bob, &pair).await;
    assert_eq!((&row["unread"], &row["lastSeq"], &row["readSeq"]), (&json!(3), &json!(3), &json!(0)), "{row}");
    assert_eq!(row["lastMessage"]["content"], "hello");
    assert_eq!(api.conversation(&ann, &pair).await["unread"], 0, "one's own messages are read");

    bobs.send("mark-read", json!({"conversationId": pair, "seqId": 2})).await;
    let receipt = anns.hears("read-receipt").await;
    assert_eq!(receipt, json!({"conversationId": pair, "userId": bob.user_id, "seqId": 2}));
    assert_eq!(api.conversation(&bob, &pair).await["unread"], 1);

    let path = format!("/api/conversations/{pair}/read");
    for seq in [1, 2, 3] {
        let (status, answer) = api.call(Method::POST, &path, Some(&bob.token), Some(json!({"seqId": seq}))).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    let receipt = anns.hears("read-receipt").await;
    assert_eq!(receipt["seqId"], 3, "marks that change nothing are told to nobody");
    assert_eq!(api.conversation(&bob, &pair).await["readSeq"], 3);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_grow_and_shrink_in_the_order_of_their_conversation() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let [mut bobs, mut eves] = Talker::all(&server, [&bob, &eve]).await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let created = bobs.hears("message").await;
    assert_eq!((&created["event"], &created["messageType"]), (&json!("system"), &json!("group-created")), "{created}");

    let path = format!("/api/groups/{}/members", group.replace("group_", ""));
    let body = json!({"userIds": [eve.user_id]});
    let (status, answer) = api.call(Method::POST, &path, Some(&ann.token), Some(body)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    for socket in [&mut bobs, &mut eves] {
        assert_eq!(socket.hears("message").await["messageType"], "joined");
    }
    bobs.say(&group, "welcome").await;
    assert_eq!(eves.hears("message").await["content"], "welcome");
    let seen: Vec<_> = api.history(&eve, &group).await.iter().map(|m| m["messageType"].clone()).collect();
    assert_eq!(seen.last(), Some(&json!("text")), "who joins reads from there on: {seen:?}");

    let (status, _) = api.call(Method::DELETE, &format!("{path}/{}", eve.user_id), Some(&ann.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(eves.hears("message").await["messageType"], "removed");
    let (status, answer) =
        api.call(Method::GET, &format!("/api/conversations/{group}/messages"), Some(&eve.token), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let seqs: Vec<_> = api.history(&bob, &group).await.iter().map(|m| m["seqId"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_recalls_and_reactions_change_what_was_said() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;
    for _ in 1..=2 {
        anns.say(&pair, "frist").await;
        bobs.hears("message").await;
    }
    let target = |seq: i64| json!({"conversationId": pair, "targetSeqId": seq});
    let edit = |content: &str| with(target(1), json!({"clientMsgId": content, "content": content}));
    assert_eq!(bobs.refused("edit-message", edit("mine")).await["code"], 1002, "only one's own");
    anns.put("edit-message", edit("first")).await;
    let edit = bobs.hears("message").await;
    assert_eq!((&edit["event"], &edit["targetSeqId"], &edit["content"]), (&json!("edit"), &json!(1), &json!("first")));
    anns.put("recall-message", target(2)).await;
    assert_eq!(bobs.hears("message").await["event"], "recall");
    bobs.put("react", with(target(1), json!({"emoji": "👍"}))).await;
    let history = api.history(&bob, &pair).await;
    assert_eq!((&history[0]["content"], &history[1]["content"]), (&json!("first"), &json!("")), "{history:?}");
    assert_eq!(history.len(), 5);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_told_by_heads_and_fetched_by_sync() {
    let (server, _, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let mut anns = Talker::connect(&server, &ann).await;
    for _ in 1..=5 {
        anns.say(&pair, "are you there?").await;
    }
    let mut bobs = Talker::connect(&server, &bob).await;
    let heads = bobs.hears("heads").await;
    assert_eq!(heads["heads"][&pair], 5, "{heads}");
    bobs.send("sync", json!({"positions": {(pair.clone()): 1}, "limit": 2})).await;
    let part = bobs.hears("sync-result").await;
    assert_eq!((&part["hasMore"], &part["recovered"]), (&json!(true), &json!(false)), "{part}");
    bobs.send("sync", json!({"positions": {(pair.clone()): 3}})).await;
    let rest = bobs.hears("sync-result").await;
    let seqs: Vec<_> = rest["messages"].as_array().unwrap().iter().map(|m| m["seqId"].clone()).collect();
    assert_eq!((seqs, &rest["recovered"]), (vec![json!(4), json!(5)], &json!(true)));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_work_once_and_logout_closes_the_sockets() {
    let (server, api, [ann]) = served(["ann"]).await;
    let refresh = async |token: &str| {
        api.call(Method::POST, "/api/auth/refresh", None, Some(json!({"refreshToken": token}))).await
    };
    let (status, first) = refresh(&ann.refresh_token).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let second = first["refreshToken"].as_str().unwrap();
    assert_eq!(refresh(&ann.refresh_token).await.0, StatusCode::UNAUTHORIZED, "a second use");
    assert_eq!(refresh(second).await.0, StatusCode::UNAUTHORIZED, "revokes the whole family");

    let (status, answer) = api.login("ann", "correct horse").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ann = Account::from_answer(&answer, "ann");
    let mut socket = Talker::connect(&server, &ann).await;
    // A token of somebody else's ends nothing, and keeps nothing alive.
    let bob = api.register("bob").await;
    let body = json!({"refreshToken": bob.refresh_token});
    let (status, _) = api.call(Method::POST, "/api/auth/logout", Some(&ann.token), Some(body)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let closed = tokio::time::timeout(Duration::from_secs(10), receive_type(&mut socket.socket, "pong")).await.unwrap();
    assert!(closed.as_ref().is_err_and(|e| e.contains("4009")), "{closed:?}");
    assert_eq!(api.call(Method::GET, "/api/users/me", Some(&ann.token), None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&ann.refresh_token).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&bob.refresh_token).await.0, StatusCode::OK);
    assert!(server.stop().await.success());
}
