//! Input at the edges of what is allowed: it comes back as it was, or gets its code, and nothing is half
//! done.

use std::collections::HashSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::client::{Socket, connect, receive_type, send};
use tests::server::Server;

struct Scene {
    _data: tempfile::TempDir,
    server: Server,
    api: Api,
    ann: Account,
    bob: Account,
}

async fn scene() -> Scene {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    Scene { _data: data, server, api, ann, bob }
}

impl Scene {
    async fn online(&self, account: &Account) -> Socket {
        let mut socket = connect(self.server.http, &account.token).await.unwrap();
        receive_type(&mut socket, "hello").await.unwrap();
        socket
    }

    async fn check(&self, method: Method, path: &str, body: Option<Value>, status: u16, code: u64) {
        let (had, answer) = self.api.call(method, path, Some(&self.ann.token), body).await;
        assert_eq!((had.as_u16(), &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
    }
}

async fn say(socket: &mut Socket, conversation: &str, id: &str, content: &str) -> Value {
    let data = json!({"clientMsgId": id, "conversationId": conversation, "messageType": "text", "content": content});
    send(socket, &json!({"type": "send-message", "data": data})).await.unwrap();
    receive_type(socket, "message-stored").await.unwrap()
}

/// Text that has been trouble somewhere: combining, joined, right to left, beyond the basic plane, the
/// syntax of other systems.
const TEXTS: [&str; 10] = [
    "e\u{301} \u{1112}\u{1161}\u{11ab} \u{928}\u{93f} ﷽",
    "👩‍👩‍👧‍👦 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f} 👍🏽",
    "\u{202e}txt.exe \u{2066}x\u{2069} \u{200b}\u{feff}",
    "\u{10ffff}\u{e000}\u{fffd}\u{fdd0}\u{1f}\u{7f}\u{85}\u{2028}",
    "İıſß ﬁ Ǆ 中文 кириллица ελληνικά עברית العربية ไทย",
    "'; DROP TABLE messages; -- \" ` $1 ? :x @y %s {0} \\",
    "{\"type\": \"message\", \"data\": {\"seqId\": 1, \"content\": \"\\u0000\"}}",
    "<script>alert(1)</script>&amp;<!--",
    " \t leading and trailing \r\n",
    "🙂",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_text_is_delivered_and_stored_as_it_was_said() {
    let scene = scene().await;
    let pair = scene.ann.pair_with(&scene.bob);
    let (mut anns, mut bobs) = (scene.online(&scene.ann).await, scene.online(&scene.bob).await);
    let longest = "😀".repeat(2_048);
    let texts: Vec<&str> = TEXTS.into_iter().chain([longest.as_str()]).collect();
    for (n, text) in texts.iter().enumerate() {
        // 64 characters, each of four bytes but the last two.
        let id = format!("{}{n:02}", "𝕏".repeat(62));
        assert_eq!(say(&mut anns, &pair, &id, text).await["clientMsgId"], id.as_str());
        let message = receive_type(&mut bobs, "message").await.unwrap();
        assert_eq!((&message["content"], &message["clientMsgId"]), (&json!(text), &json!(id)));
    }
    let history = scene.api.history(&scene.bob, &pair).await;
    assert!(history.iter().map(|message| &message["content"]).eq(texts.iter()), "{history:?}");
    let by_id = format!("/api/messages/{}", history[0]["messageId"].as_str().unwrap());
    assert_eq!(scene.api.ok(Method::GET, &by_id, &scene.bob, None).await["content"], TEXTS[0]);
    assert!(scene.server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_cursors_at_the_edge_get_their_code() {
    let scene = scene().await;
    let last = i64::MAX;
    let eve = scene.api.register("eve").await;
    let mut eves = scene.online(&eve).await;
    let foreign = say(&mut eves, &eve.pair_with(&scene.bob), "m", "not for ann").await;
    let gets = [
        (format!("/api/groups/{last}"), 404, 1004),
        ("/api/groups/9223372036854775808".into(), 400, 1000),
        ("/api/groups/0".into(), 400, 1000),
        (format!("/api/messages/{last}"), 404, 1004),
        ("/api/messages/18446744073709551617".into(), 400, 1000),
        (format!("/api/messages/{}", foreign["messageId"].as_str().unwrap()), 404, 1004),
        (format!("/api/conversations/group_{last}/messages"), 404, 1004),
        ("/api/conversations/group_9223372036854775808/messages".into(), 400, 1000),
        (format!("/api/conversations/single_{}_{last}/messages", scene.ann.user_id), 404, 1001),
        (format!("/api/conversations/{}/read", eve.pair_with(&scene.bob)), 404, 1004),
        ("/api/conversations/world/messages?beforeSeq=9223372036854775808".into(), 400, 1000),
        ("/api/conversations?cursor=forged".into(), 400, 1000),
        ("/api/conversations?cursor=Yy05MjIzMzcyMDM2ODU0Nzc1ODA4L3dvcmxk".into(), 400, 1000),
        (format!("/api/conversations?cursor={}", "A".repeat(10_000)), 400, 1000),
    ];
    for (path, status, code) in gets {
        scene.check(Method::GET, &path, None, status, code).await;
    }
    let too_many: Vec<_> = (1..=1_001).map(|n| n.to_string()).collect();
    for (member_ids, status, code) in [
        (json!([last.to_string()]), 404, 1001),
        (json!(["9223372036854775808"]), 400, 1000),
        (json!(["-1"]), 400, 1000),
        (json!([last]), 400, 1000),
        (json!(too_many), 400, 1000),
    ] {
        let body = json!({"name": "never made", "memberIds": member_ids});
        scene.check(Method::POST, "/api/groups", Some(body), status, code).await;
    }
    let list = scene.api.ok(Method::GET, "/api/conversations", &scene.ann, None).await;
    let ids: Vec<_> =
        list["conversations"].as_array().unwrap().iter().map(|row| row["conversationId"].clone()).collect();
    assert_eq!(ids, ["world"], "nothing of it was done");
    let end = format!("/api/conversations/world/messages?afterSeq={last}");
    let nothing = scene.api.ok(Method::GET, &end, &scene.ann, None).await;
    assert_eq!(nothing, json!({"messages": [], "hasMore": false}));
    assert!(scene.server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_registrations_of_one_name_at_the_same_instant_one_wins() {
    let scene = scene().await;
    let register = |n: usize| {
        let name = if n.is_multiple_of(2) { "Zoe" } else { "zoE" };
        let body = json!({"username": name, "password": format!("password {n}")});
        let api = scene.api.clone();
        async move { api.call(Method::POST, "/api/auth/register", None, Some(body)).await }
    };
    let answers = join_all((0..8).map(register)).await;
    let won: Vec<_> = (0..8).filter(|&n| answers[n].0.as_u16() == 201).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let lost = answers.iter().filter(|(status, answer)| status.as_u16() == 409 && answer["error"]["code"] == 1009);
    assert_eq!(lost.count(), 7, "{answers:?}");
    for n in 0..8 {
        let body = json!({"username": "zoe", "password": format!("password {n}")});
        let (status, _) = scene.api.call(Method::POST, "/api/auth/login", None, Some(body)).await;
        assert_eq!(status.as_u16(), if n == won[0] { 200 } else { 401 }, "only the winner's password counts");
    }
    assert!(scene.server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_made_at_the_same_instant_are_each_whole() {
    let scene = scene().await;
    let mut bobs = scene.online(&scene.bob).await;
    let body = json!({"name": "tea", "memberIds": [scene.bob.user_id]});
    let make = |_| scene.api.ok(Method::POST, "/api/groups", &scene.ann, Some(body.clone()));
    let made = join_all((0..6).map(make)).await;
    let ids: HashSet<_> = made.iter().map(|group| group["groupId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 6, "each has an id of its own");
    for _ in &made {
        assert_eq!(receive_type(&mut bobs, "message").await.unwrap()["messageType"], "group-created");
    }
    for group in &made {
        assert_eq!((&group["version"], &group["memberCount"]), (&json!(1), &json!(2)));
        let conversation = format!("group_{}", group["groupId"].as_str().unwrap());
        say(&mut bobs, &conversation, "hello", "hello").await;
        let history = scene.api.history(&scene.bob, &conversation).await;
        let kinds: Vec<_> = history.iter().map(|message| message["messageType"].clone()).collect();
        assert_eq!(kinds, ["group-created", "text"], "its event is there once");
    }
    assert!(scene.server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_goes_only_after_handing_over() {
    let scene = scene().await;
    let (ann, bob) = (&scene.ann, &scene.bob);
    let group = scene.api.group(ann, "tea", std::slice::from_ref(&bob.user_id)).await.replace("group_", "");
    let member = |account: &Account| format!("/api/groups/{group}/members/{}", account.user_id);
    scene.check(Method::DELETE, &member(ann), None, 403, 1002).await;
    scene.check(Method::PATCH, &member(ann), Some(json!({"role": "member"})), 400, 1000).await;
    scene.check(Method::PATCH, &member(bob), Some(json!({"role": "king"})), 400, 1000).await;
    scene.api.ok(Method::PATCH, &member(bob), ann, Some(json!({"role": "admin"}))).await;
    let (status, answer) = scene.api.call(Method::DELETE, &member(ann), Some(&bob.token), None).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!(1002)), "{answer}");
    let (status, answer) =
        scene.api.call(Method::DELETE, &format!("/api/groups/{group}"), Some(&bob.token), None).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!(1002)), "{answer}");
    scene.api.ok(Method::PATCH, &member(bob), ann, Some(json!({"role": "owner"}))).await;
    scene.api.ok(Method::DELETE, &member(ann), ann, None).await;
    let now = scene.api.ok(Method::GET, &format!("/api/groups/{group}"), bob, None).await;
    assert_eq!((&now["ownerId"], &now["memberCount"], &now["version"]), (&json!(bob.user_id), &json!(1), &json!(4)));
    scene.check(Method::GET, &format!("/api/groups/{group}"), None, 404, 1004).await;
    scene.api.ok(Method::DELETE, &format!("/api/groups/{group}"), bob, None).await;
    let (status, answer) =
        scene.api.call(Method::DELETE, &format!("/api/groups/{group}"), Some(&bob.token), None).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!(1004)), "dissolved twice: {answer}");
    assert!(scene.server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_beyond_the_last_message_reads_up_to_it_and_is_shown_to_the_other() {
    let scene = scene().await;
    let (ann, bob) = (&scene.ann, &scene.bob);
    let pair = ann.pair_with(bob);
    let (mut anns, _bobs) = (scene.online(ann).await, scene.online(bob).await);
    for n in 1..=3 {
        say(&mut anns, &pair, &format!("m{n}"), "hello").await;
    }
    let path = format!("/api/conversations/{pair}/read");
    assert_eq!(scene.api.ok(Method::GET, &path, ann, None).await, json!({"readMarks": []}));
    scene.check(Method::POST, &path, Some(json!({"seqId": 0})), 400, 1000).await;
    scene.check(Method::POST, &path, Some(json!({"seqId": -7})), 400, 1000).await;
    scene.api.ok(Method::POST, &path, bob, Some(json!({"seqId": i64::MAX}))).await;
    assert_eq!(receive_type(&mut anns, "read-receipt").await.unwrap()["seqId"], 3);
    let marks = json!({"readMarks": [{"userId": bob.user_id, "seqId": 3}]});
    assert_eq!(scene.api.ok(Method::GET, &path, ann, None).await, marks);
    say(&mut anns, &pair, "m4", "one more").await;
    let list = scene.api.ok(Method::GET, "/api/conversations", bob, None).await;
    let row = list["conversations"].as_array().unwrap().iter().find(|row| row["conversationId"] == pair.as_str());
    assert_eq!((&row.unwrap()["unread"], &row.unwrap()["readSeq"]), (&json!(1), &json!(3)), "{list}");
    assert!(scene.server.stop().await.success());
}
