//! A gRPC client that has never seen our .proto file: Python's grpcio finds the services by reflection,
//! and reads users, groups and histories.

use reqwest::Method;
use serde_json::{Value, json};
use tests::foreign::python;
use tests::users::{Talker, served};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_reads_users_groups_and_history_by_reflection() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let group = api.group(&ann, "tea ☕", std::slice::from_ref(&bob.user_id)).await;
    let mut anns = Talker::connect(&server, &ann).await;
    let texts: Vec<_> = (1..=120).map(|n| format!("{n}: e\u{301} 👩‍👩‍👧‍👦 \u{202e}'; -- {{}}")).collect();
    for text in &texts {
        anns.say(&group, text).await;
    }
    let asked = json!({"address": server.grpc.to_string(), "username": "ann", "group": group,
        "member": bob.user_id, "stranger": eve.user_id});
    let read: Value = serde_json::from_str(&python("read_repo.py", &asked.to_string()).await).unwrap();

    let names = ["AuthService", "ConversationService", "GroupRepo", "MessageRepo", "UserRepo"];
    assert_eq!(read["services"], json!(names.map(|name| format!("gochat.repo.v1.{name}"))));
    assert_eq!((&read["user"]["userId"], &read["user"]["status"]), (&json!(ann.user_id), &json!("active")));
    let shown = api.ok(Method::GET, &format!("/api/groups/{}", group.replace("group_", "")), &ann, None).await;
    for field in ["groupId", "name", "ownerId", "memberCount"] {
        assert_eq!(read["group"][field], shown[field], "{field}");
    }
    let members = read["members"].as_array().unwrap().iter().map(|member| member["username"].clone());
    assert_eq!(members.collect::<Vec<_>>(), ["ann", "bob"]);
    let membership: Vec<_> = read["membership"].as_array().unwrap().iter().map(|id| json!(id)).collect();
    assert_eq!(membership, [json!(ann.user_id), json!(bob.user_id)]);
    let history = read["history"].as_array().unwrap();
    let said: Vec<_> =
        history.iter().filter(|message| message["kind"] == "text").map(|m| m["content"].clone()).collect();
    assert_eq!(said, texts);
    let seqs: Vec<_> = history.iter().map(|message| message["seqId"].clone()).collect();
    assert_eq!(seqs, (1..=121).map(|seq: i32| json!(seq.to_string())).collect::<Vec<_>>());
    assert_eq!(read["refused"], json!({"status": "NOT_FOUND", "code": "1004"}));
    assert!(server.stop().await.success());
}
