//! Read receipts: only of marks that rise, and only where they are shown.

use reqwest::Method;
use schemas::pb::MarkAsReadRequest;
use serde_json::{Value, json};
use stages::repo::client::conversation_service_client::ConversationServiceClient;
use tests::api::Api;
use tests::client::receive;
use tests::server::Server;
use tests::users::{Talker, registered, served};

async fn mark(socket: &mut Talker, conversation: &str, seq: i64) {
    socket.send("mark-read", json!({"conversationId": conversation, "seqId": seq})).await;
}

/// The receipts that came before this message of the conversation, as (conversation, seq).
async fn receipts_before(socket: &mut Talker, conversation: &str, content: &str) -> Vec<(String, i64)> {
    let mut receipts = Vec::new();
    loop {
        let frame: Value = receive(&mut socket.socket).await.unwrap();
        let data = &frame["data"];
        match frame["type"].as_str().unwrap() {
            "read-receipt" => {
                let conversation = data["conversationId"].as_str().unwrap().to_owned();
                receipts.push((conversation, data["seqId"].as_i64().unwrap()));
            }
            "message" if data["conversationId"] == conversation && data["content"] == content => return receipts,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_hear_of_a_mark_that_rises_and_never_of_one_that_goes_back() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    let api = Api::new(server.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let mut anns = Talker::connect(&server, &ann).await;
    let [mut phone, mut laptop] = Talker::all(&server, [&bob, &bob]).await;
    for n in 1..=5 {
        anns.say(&pair, &format!("m{n}")).await;
    }
    mark(&mut phone, &pair, 4).await;
    assert_eq!(anns.hears("read-receipt").await["seqId"], 4);
    mark(&mut laptop, &pair, 2).await;
    mark(&mut phone, &pair, 4).await;
    // What a server that starts again has forgotten, the store knows.
    laptop.say(&pair, "before").await;
    assert_eq!(receipts_before(&mut anns, &pair, "before").await, []);
    assert!(server.stop().await.success());
    server = Server::start(data.path()).await;
    let [mut anns, mut laptop] = Talker::all(&server, [&ann, &bob]).await;
    mark(&mut laptop, &pair, 2).await;
    laptop.say(&pair, "after").await;
    assert_eq!(receipts_before(&mut anns, &pair, "after").await, []);
    let api = Api::new(server.http);
    let path = format!("/api/conversations/{pair}/read");
    for seq in [3, 5] {
        api.ok(Method::POST, &path, &bob, Some(json!({"seqId": seq}))).await;
    }
    let mut repo = ConversationServiceClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let user_id = bob.user_id.parse().unwrap();
    for seq_id in [1, 6, 5] {
        let request = MarkAsReadRequest { conversation_id: pair.clone(), user_id, seq_id };
        repo.mark_as_read(request).await.unwrap();
    }
    laptop.say(&pair, "last").await;
    let receipts = receipts_before(&mut anns, &pair, "last").await;
    // Of marks that are stored together the furthest is told.
    let both = [(pair.clone(), 5), (pair.clone(), 6)];
    assert!(receipts == both || receipts == both[1..], "{receipts:?}");
    let marks = json!({"readMarks": [{"userId": bob.user_id, "seqId": 6}]});
    assert_eq!(api.ok(Method::GET, &path, &ann, None).await, marks);
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_marks_are_not_shown_nobody_hears_of_them() {
    let (server, api, [ann, bob]) = served(["ann", "bob"]).await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let [mut anns, mut bobs] = Talker::all(&server, [&ann, &bob]).await;
    anns.say("world", "w1").await;
    mark(&mut bobs, "world", 1).await;
    mark(&mut bobs, &group, 1).await;
    // Conversations are worked on beside each other: each has an end of its own.
    bobs.say("world", "w2").await;
    let mut receipts = receipts_before(&mut anns, "world", "w2").await;
    bobs.say(&group, "g2").await;
    receipts.extend(receipts_before(&mut anns, &group, "g2").await);
    assert_eq!(receipts, [(group, 1)]);
    assert!(server.stop().await.success());
}
