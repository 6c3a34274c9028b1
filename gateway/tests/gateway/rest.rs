//! REST: shapes, codes, limits.

use std::sync::atomic::Ordering;

use gateway::GatewayConfig;
use schemas::error::ErrorCode;
use schemas::ids::UserId;
use schemas::pb;
use schemas::token::Claims;
use serde_json::{Value, json};

use crate::harness::{Gateway, HEALTH, NOW, gateway, gateway_with, within};

async fn check(gateway: &Gateway, method: &str, path: &str, body: Option<&str>, status: u16, expected: Value) {
    let token = gateway.token(1);
    let answer = gateway.request(method, path, Some(&token), body).await;
    assert_eq!(answer, (status, expected), "{method} {path}");
}

async fn check_error(gateway: &Gateway, method: &str, path: &str, body: Option<&str>, status: u16, code: u16) {
    let token = gateway.token(1);
    let (seen, answer) = gateway.request(method, path, Some(&token), body).await;
    assert_eq!((seen, &answer["error"]["code"]), (status, &json!(code)), "{method} {path} {answer}");
    assert!(answer["error"]["message"].is_string() && answer["error"]["name"].is_string());
    assert!(!answer.to_string().contains("secret"), "{answer}");
}

#[tokio::test]
async fn answers_look_like_this() {
    let gateway = gateway().await;
    let signed_in = json!({"userId": "9007199254740993", "username": "ann", "accessToken": "a", "refreshToken": "r", "expiresIn": 900});
    let body = r#"{"username":"ann","password":"12-45-78"}"#;
    let answer = gateway.request("POST", "/api/auth/register", None, Some(body)).await;
    assert_eq!(answer, (201, signed_in.clone()));
    let answer = gateway.request("POST", "/api/auth/refresh", None, Some(r#"{"refreshToken":"r"}"#)).await;
    assert_eq!(answer, (200, signed_in));
    let me = json!({"userId": "1", "username": "user1", "displayName": "Ann", "avatarUrl": "", "email": "ann@example.org",
        "status": "active", "createdAt": "2025-06-15T15:06:40.000Z"});
    check(&gateway, "GET", "/api/users/me", None, 200, me).await;
    let other = json!({"userId": "2", "username": "user2", "displayName": "Ann", "avatarUrl": "", "status": "active",
        "createdAt": "2025-06-15T15:06:40.000Z"});
    check(&gateway, "GET", "/api/users?username=user2", None, 200, other.clone()).await;
    check(&gateway, "GET", "/api/users/by-id?userIds=2,404,2", None, 200, json!({"users": [other, other]})).await;
    let conversations = json!({"conversations": [{"conversationId": "single_1_2", "kind": "single", "title": "Bob",
        "lastSeq": 3, "readSeq": 1, "unread": 2, "lastMessage": null, "updatedAt": "2025-06-15T15:06:40.003Z"}], "nextCursor": "c"});
    check(&gateway, "GET", "/api/conversations?limit=200", None, 200, conversations).await;
    let group = json!({"groupId": "5", "conversationId": "group_5", "name": "Tea", "description": "and cake", "ownerId": "1",
        "memberCount": 3, "maxMembers": 500, "version": 4, "dissolved": false, "createdAt": "2025-06-15T15:06:40.001Z"});
    check(&gateway, "GET", "/api/groups/5", None, 200, group.clone()).await;
    check(&gateway, "POST", "/api/groups", Some(r#"{"name":"Tea","memberIds":["2","3"]}"#), 201, group).await;
    check(&gateway, "PATCH", "/api/groups/5/members/2", Some(r#"{"role":"admin"}"#), 204, json!("")).await;
    let marks = json!({"readMarks": [{"userId": "9007199254740993", "seqId": 4}]});
    check(&gateway, "GET", "/api/conversations/group_5/read", None, 200, marks).await;
    gateway.repo.messages.lock().unwrap().push(pb::Message {
        conversation_id: "group_5".into(),
        message_id: 9_007_199_254_740_995,
        seq_id: 7,
        sender_id: 2,
        kind: "text".into(),
        content: "hi".into(),
        client_msg_id: "k".into(),
        created_at: 1_750_000_000_003,
        ..pb::Message::default()
    });
    let message = json!({"conversationId": "group_5", "messageId": "9007199254740995", "seqId": 7, "senderId": "2",
        "messageType": "text", "content": "hi", "clientMsgId": "k", "createdAt": "2025-06-15T15:06:40.003Z", "event": "message"});
    check(&gateway, "GET", "/api/messages/9007199254740995", None, 200, message).await;
    let _online = gateway.connect(2).await;
    let (_, members) = gateway.request("GET", "/api/groups/5/members", Some(&gateway.token(1)), None).await;
    let second = json!({"userId": "2", "username": "user2", "displayName": "Ann", "role": "member",
        "joinedAt": "2025-06-15T15:06:40.002Z", "online": true});
    assert_eq!((&members["members"][1], &members["nextCursor"]), (&second, &Value::Null));
}

#[tokio::test]
async fn a_read_mark_is_in_the_log_before_the_answer() {
    let gateway = gateway().await;
    check(&gateway, "POST", "/api/conversations/group_5/read", Some(r#"{"seqId":7}"#), 204, json!("")).await;
    let (record, headers) = gateway.upstream(1).await.remove(0);
    assert_eq!((record.kind.name(), record.target_seq.unwrap().0, headers.origin), ("read-mark", 7, None));
}

#[tokio::test]
async fn what_is_wrong_gets_its_status_and_code() {
    let gateway = gateway().await;
    for path in [
        "/api/conversations?limit=100000",
        "/api/conversations?limit=0",
        "/api/conversations?limit=-1",
        "/api/conversations?limit=x",
        "/api/conversations/world/messages?limit=201",
        "/api/conversations/nowhere/messages",
        "/api/conversations/world/messages?beforeSeq=3&afterSeq=1",
        "/api/groups/x",
        "/api/groups/-5",
        "/api/groups/%ff",
        "/api/groups/9223372036854775808",
        "/api/messages/-1",
        "/api/messages/01",
        "/api/conversations/nowhere/read",
        "/api/groups/5/members?limit=1001",
        "/api/users",
        "/api/users/by-id",
        "/api/users/by-id?userIds=",
        "/api/users/by-id?userIds=2,x",
        &format!("/api/users/by-id?userIds={}", vec!["2"; 51].join(",")),
    ] {
        check_error(&gateway, "GET", path, None, 400, 1000).await;
    }
    let short = r#"{"username":"ann","password":"short"}"#;
    for (path, body) in [
        ("/api/auth/register", ""),
        ("/api/auth/register", "{"),
        ("/api/auth/register", r#"{"username":7}"#),
        ("/api/auth/register", short),
        ("/api/groups", r#"{"name":"Tea","memberIds":[2]}"#),
        ("/api/groups", r#"{"name":""}"#),
        ("/api/conversations/world/read", r#"{"seqId":0}"#),
        ("/api/groups/5/members", r#"{"userIds":[]}"#),
    ] {
        check_error(&gateway, "POST", path, Some(body), 400, 1000).await;
    }
    check_error(&gateway, "GET", "/api/nothing", None, 404, 1000).await;
    check_error(&gateway, "PUT", "/api/groups/5", None, 405, 1000).await;
    check_error(&gateway, "GET", "/api/users?username=nobody", None, 404, 1001).await;
    check_error(&gateway, "GET", "/api/groups/6", None, 404, 1004).await;
    check_error(&gateway, "GET", "/api/groups/9223372036854775807", None, 404, 1004).await;
    check_error(&gateway, "GET", "/api/messages/9223372036854775807", None, 404, 1004).await;
    check_error(&gateway, "GET", "/api/conversations/group_6/messages", None, 404, 1004).await;
    check_error(&gateway, "GET", "/api/conversations/group_6/read", None, 404, 1004).await;
    check_error(&gateway, "POST", "/api/groups/5/members", Some(r#"{"userIds":["9"]}"#), 409, 1005).await;
    let taken = r#"{"username":"taken","password":"12-45-78"}"#;
    check_error(&gateway, "POST", "/api/auth/register", Some(taken), 409, 1009).await;
    check_error(&gateway, "GET", "/api/users?username=broken", None, 500, 1500).await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(300_000));
    check_error(&gateway, "POST", "/api/groups", Some(&large), 413, 1010).await;
}

#[tokio::test]
async fn a_repo_that_does_not_answer_is_busy() {
    let gateway = gateway_with(GatewayConfig { repo_timeout_ms: 100, ..Default::default() }).await;
    check_error(&gateway, "GET", "/api/users?username=slow", None, 503, 1008).await;
}

#[tokio::test]
async fn a_read_is_tried_again_when_the_repo_is_away_and_a_change_is_not() {
    let gateway = gateway().await;
    let token = gateway.token(1);
    let (status, user) = gateway.request("GET", "/api/users?username=flaky", Some(&token), None).await;
    assert_eq!((status, &user["username"]), (200, &json!("user2")));
    gateway.repo.unavailable.store(0, Ordering::SeqCst);
    check_error(&gateway, "DELETE", "/api/groups/5", None, 503, 1008).await;
    assert_eq!(gateway.repo.unavailable.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_code_of_the_repo_has_its_status() {
    let gateway = gateway().await;
    for code in ErrorCode::ALL {
        let path = format!("/api/users?username=refused{}", code.code());
        check_error(&gateway, "GET", &path, None, code.http_status(), code.code()).await;
    }
}

#[tokio::test]
async fn without_a_good_token_there_is_no_answer() {
    let gateway = gateway().await;
    let expired = gateway.key.sign(&Claims { user_id: UserId(1), session_id: 1, expires_at: NOW });
    for token in [None, Some("nonsense"), Some(expired.as_str())] {
        let (status, answer) = gateway.request("GET", "/api/users/me", token, None).await;
        assert_eq!((status, &answer["error"]["code"]), (401, &json!(1006)));
    }
    let (status, _) = gateway.request("POST", "/api/auth/logout", None, Some(r#"{"refreshToken":"r"}"#)).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let config = GatewayConfig { sign_ins_a_second_an_address: 1, rate_burst_s: 2, ..Default::default() };
    let gateway = gateway_with(config).await;
    let client = reqwest::Client::new();
    let register = || {
        client
            .post(format!("http://{}/api/auth/register", gateway.address))
            .header("content-type", "application/json")
            .body(r#"{"username":"ann","password":"12-45-78"}"#)
            .send()
    };
    assert_eq!(within(register()).await.unwrap().status(), 201);
    assert_eq!(within(register()).await.unwrap().status(), 201);
    let refused = within(register()).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    check_error(&gateway, "GET", "/api/groups/6", None, 404, 1004).await;
}

#[tokio::test]
async fn a_clients_trace_goes_on_into_the_repo() {
    let gateway = gateway().await;
    let url = format!("http://{}/api/users/me", gateway.address);
    let request = reqwest::Client::new()
        .get(url)
        .bearer_auth(gateway.token(1))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(within(request.send()).await.unwrap().status(), 200);
    let traces = gateway.repo.traces.lock().unwrap().clone();
    assert!(
        traces[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !traces[0].contains("b7ad6b7169203331"),
        "{traces:?}"
    );
}

#[tokio::test]
async fn health_is_what_the_process_says_of_itself() {
    let gateway = gateway().await;
    assert_eq!(gateway.request("GET", "/health/live", None, None).await.0, 200);
    let said: Value = serde_json::from_str(HEALTH).unwrap();
    assert_eq!(gateway.request("GET", "/health/ready", None, None).await, (503, said));
    assert_eq!(gateway.request("GET", "/metrics", None, None).await.0, 404, "metrics have a listener of their own");
}
