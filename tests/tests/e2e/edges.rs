//! Input at the edges of what is allowed: it comes back as it was, or gets its code, and nothing is half
//! done.

use std::collections::HashSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tests::api::Account;
use tests::users::{Talker, served, text, with};

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
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;
    let longest = "😀".repeat(2_048);
    let texts: Vec<&str> = TEXTS.into_iter().chain([longest.as_str()]).collect();
    for (n, said) in texts.iter().enumerate() {
        // 64 characters, each of four bytes but the last two.
        let id = format!("{}{n:02}", "𝕏".repeat(62));
        let data = with(text(&pair, said), json!({"clientMsgId": id}));
        assert_eq!(anns.put("send-message", data).await["clientMsgId"], id.as_str());
        let message = bobs.hears("message").await;
        assert_eq!((&message["content"], &message["clientMsgId"]), (&json!(said), &json!(id)));
    }
    let history = api.history(&bob, &pair).await;
    assert!(history.iter().map(|message| &message["content"]).eq(texts.iter()), "{history:?}");
    let by_id = format!("/api/messages/{}", history[0]["messageId"].as_str().unwrap());
    assert_eq!(api.ok(Method::GET, &by_id, &bob, None).await["content"], TEXTS[0]);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_cursors_at_the_edge_get_their_code() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let last = i64::MAX;
    let foreign = Talker::connect(&server, &eve).await.say(&eve.pair_with(&bob), "not for ann").await;
    let gets = [
        (format!("/api/groups/{last}"), 404, 1004),
        ("/api/groups/9223372036854775808".into(), 400, 1000),
        ("/api/groups/0".into(), 400, 1000),
        (format!("/api/messages/{last}"), 404, 1004),
        ("/api/messages/18446744073709551617".into(), 400, 1000),
        (format!("/api/messages/{}", foreign["messageId"].as_str().unwrap()), 404, 1004),
        (format!("/api/conversations/group_{last}/messages"), 404, 1004),
        ("/api/conversations/group_9223372036854775808/messages".into(), 400, 1000),
        (format!("/api/conversations/single_{}_{last}/messages", ann.user_id), 404, 1001),
        (format!("/api/conversations/{}/read", eve.pair_with(&bob)), 404, 1004),
        ("/api/conversations/world/messages?beforeSeq=9223372036854775808".into(), 400, 1000),
        ("/api/conversations?cursor=forged".into(), 400, 1000),
        ("/api/conversations?cursor=Yy05MjIzMzcyMDM2ODU0Nzc1ODA4L3dvcmxk".into(), 400, 1000),
        (format!("/api/conversations?cursor={}", "A".repeat(10_000)), 400, 1000),
    ];
    for (path, status, code) in gets {
        api.refused(Method::GET, &path, &ann, None, (status, code)).await;
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
        api.refused(Method::POST, "/api/groups", &ann, Some(body), (status, code)).await;
    }
    let list = api.ok(Method::GET, "/api/conversations", &ann, None).await;
    let ids: Vec<_> =
        list["conversations"].as_array().unwrap().iter().map(|row| row["conversationId"].clone()).collect();
    assert_eq!(ids, ["world"], "nothing of it was done");
    let end = format!("/api/conversations/world/messages?afterSeq={last}");
    let nothing = api.ok(Method::GET, &end, &ann, None).await;
    assert_eq!(nothing, json!({"messages": [], "hasMore": false}));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_registrations_of_one_name_at_the_same_instant_one_wins() {
    let (server, api, []) = served([]).await;
    let register = |n: usize| {
        let name = if n.is_multiple_of(2) { "Zoe" } else { "zoE" };
        let body = json!({"username": name, "password": format!("password {n}")});
        let api = &api;
        async move { api.call(Method::POST, "/api/auth/register", None, Some(body)).await }
    };
    let answers = join_all((0..8).map(register)).await;
    let won: Vec<_> = (0..8).filter(|&n| answers[n].0.as_u16() == 201).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let lost = answers.iter().filter(|(status, answer)| status.as_u16() == 409 && answer["error"]["code"] == 1009);
    assert_eq!(lost.count(), 7, "{answers:?}");
    for n in 0..8 {
        let (status, _) = api.login("zoe", &format!("password {n}")).await;
        assert_eq!(status.as_u16(), if n == won[0] { 200 } else { 401 }, "only the winner's password counts");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_made_at_the_same_instant_are_each_whole() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let mut bobs = Talker::connect(&server, &bob).await;
    let body = json!({"name": "tea", "memberIds": [bob.user_id]});
    let make = |_| api.ok(Method::POST, "/api/groups", &ann, Some(body.clone()));
    let made = join_all((0..6).map(make)).await;
    let ids: HashSet<_> = made.iter().map(|group| group["groupId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 6, "each has an id of its own");
    for _ in &made {
        assert_eq!(bobs.hears("message").await["messageType"], "group-created");
    }
    for group in &made {
        assert_eq!((&group["version"], &group["memberCount"]), (&json!(1), &json!(2)));
        let conversation = format!("group_{}", group["groupId"].as_str().unwrap());
        bobs.say(&conversation, "hello").await;
        let history = api.history(&bob, &conversation).await;
        let kinds: Vec<_> = history.iter().map(|message| message["messageType"].clone()).collect();
        assert_eq!(kinds, ["group-created", "text"], "its event is there once");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_goes_only_after_handing_over() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await.replace("group_", "");
    let path = format!("/api/groups/{group}");
    let member = |account: &Account| format!("{path}/members/{}", account.user_id);
    api.refused(Method::DELETE, &member(&ann), &ann, None, (403, 1002)).await;
    api.refused(Method::PATCH, &member(&ann), &ann, Some(json!({"role": "member"})), (400, 1000)).await;
    api.refused(Method::PATCH, &member(&bob), &ann, Some(json!({"role": "king"})), (400, 1000)).await;
    api.ok(Method::PATCH, &member(&bob), &ann, Some(json!({"role": "admin"}))).await;
    api.refused(Method::DELETE, &member(&ann), &bob, None, (403, 1002)).await;
    api.refused(Method::DELETE, &path, &bob, None, (403, 1002)).await;
    api.ok(Method::PATCH, &member(&bob), &ann, Some(json!({"role": "owner"}))).await;
    api.ok(Method::DELETE, &member(&ann), &ann, None).await;
    let now = api.ok(Method::GET, &path, &bob, None).await;
    assert_eq!((&now["ownerId"], &now["memberCount"], &now["version"]), (&json!(bob.user_id), &json!(1), &json!(4)));
    api.refused(Method::GET, &path, &ann, None, (404, 1004)).await;
    api.ok(Method::DELETE, &path, &bob, None).await;
    // A group that is dissolved is not found when it is dissolved again.
    api.refused(Method::DELETE, &path, &bob, None, (404, 1004)).await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_beyond_the_last_message_reads_up_to_it_and_is_shown_to_the_other() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let [mut anns, _bobs] = Talker::all(&server, [&ann, &bob]).await;
    for _ in 1..=3 {
        anns.say(&pair, "hello").await;
    }
    let path = format!("/api/conversations/{pair}/read");
    assert_eq!(api.ok(Method::GET, &path, &ann, None).await, json!({"readMarks": []}));
    api.refused(Method::POST, &path, &ann, Some(json!({"seqId": 0})), (400, 1000)).await;
    api.refused(Method::POST, &path, &ann, Some(json!({"seqId": -7})), (400, 1000)).await;
    api.ok(Method::POST, &path, &bob, Some(json!({"seqId": i64::MAX}))).await;
    assert_eq!(anns.hears("read-receipt").await["seqId"], 3);
    let marks = json!({"readMarks": [{"userId": bob.user_id, "seqId": 3}]});
    assert_eq!(api.ok(Method::GET, &path, &ann, None).await, marks);
    anns.say(&pair, "one more").await;
    let row = api.conversation(&bob, &pair).await;
    assert_eq!((&row["unread"], &row["readSeq"]), (&json!(1), &json!(3)), "{row}");
    assert!(server.stop().await.success());
}
