//! What one may not read is not there: whatever is asked of it, over REST, sockets and gRPC, the answer is the one
//! that there is for what does not exist.

use reqwest::Method;
use schemas::pb;
use serde_json::{Value, json};
use stages::repo::client::conversation_service_client::ConversationServiceClient;
use stages::repo::client::group_repo_client::GroupRepoClient;
use stages::repo::client::message_repo_client::MessageRepoClient;
use tests::api::{Account, Api};
use tests::server::Server;
use tests::users::{Talker, served};

/// Each message is to the reader as one that does not exist.
async fn are_not_there(api: &Api, reader: &Account, messages: [&Value; 2]) {
    let get = async |id: &str| api.call(Method::GET, &format!("/api/messages/{id}"), Some(&reader.token), None).await;
    let nothing = get("7").await;
    for message in messages {
        assert_eq!(get(message["messageId"].as_str().unwrap()).await, nothing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_late_joiner_what_was_said_before_is_not_there() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let [mut anns, mut bobs, mut eves] = Talker::all(&server, [&ann, &bob, &eve]).await;
    let group = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let (early, recalled) = (anns.say(&group, "early").await, anns.say(&group, "recalled").await);
    let recall = json!({"clientMsgId": "r", "conversationId": group, "targetSeqId": recalled["seqId"]});
    anns.put("recall-message", recall).await;
    let path = format!("/api/groups/{}/members", group.replace("group_", ""));
    api.ok(Method::POST, &path, &ann, Some(json!({"userIds": [eve.user_id]}))).await;
    while eves.hears("message").await["messageType"] != "joined" {}
    let late = bobs.say(&group, "late").await;

    for kind in ["edit-message", "recall-message", "react"] {
        let target = |seq: &Value| json!({"clientMsgId": "k", "conversationId": group, "targetSeqId": seq, "content": "x", "emoji": "👍"});
        let nothing = eves.refused(kind, target(&json!(99))).await;
        assert_eq!(nothing["code"], 1004, "{nothing}");
        // A group's own event, a message, a recalled one, a recall.
        for seq in [json!(1), early["seqId"].clone(), recalled["seqId"].clone(), json!(4)] {
            assert_eq!(eves.refused(kind, target(&seq)).await, nothing, "{kind} {seq}");
        }
    }
    are_not_there(&api, &eve, [&early, &recalled]).await;
    let seqs: Vec<_> = api.history(&eve, &group).await.iter().map(|message| message["seqId"].clone()).collect();
    assert_eq!(seqs, [json!(5), late["seqId"].clone()], "from where she joined");
    let react = json!({"clientMsgId": "k", "conversationId": group, "targetSeqId": late["seqId"], "emoji": "👍"});
    eves.send("react", react).await;
    eves.hears("message-ack").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn to_who_is_no_member_a_group_answers_as_if_it_did_not_exist() {
    let (server, api, [ann, bob, eve]) = served(["ann", "bob", "eve"]).await;
    let [mut anns, mut eves] = Talker::all(&server, [&ann, &eve]).await;
    let open = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let over = api.group(&ann, "over", &[]).await;
    api.ok(Method::DELETE, &format!("/api/groups/{}", over.replace("group_", "")), &ann, None).await;
    let pair = ann.pair_with(&bob);
    let (in_group, in_pair) = (anns.say(&open, "g").await, anns.say(&pair, "p").await);
    let nowhere = "group_4711";

    for group in [&open, &over, &pair] {
        for (method, path, body) in calls(&bob) {
            if group.starts_with("single_") && path.starts_with("/api/groups") {
                continue;
            }
            let call = async |conversation: &str| {
                let path = path.replace("{c}", conversation).replace("{g}", &conversation.replace("group_", ""));
                api.call(method.clone(), &path, Some(&eve.token), body.clone()).await
            };
            let (hidden, absent) = (call(group).await, call(nowhere).await);
            assert_eq!(absent.0, 404, "{method} {path} {}", absent.1);
            assert_eq!(hidden, absent, "{method} {path} of {group}");
        }
        for kind in ["send-message", "edit-message", "recall-message", "react", "mark-read", "typing"] {
            let data = |conversation: &str| {
                json!({"clientMsgId": "k", "conversationId": conversation, "messageType": "text", "content": "x",
                    "targetSeqId": 1, "seqId": 1, "emoji": "👍"})
            };
            let absent = eves.refused(kind, data(nowhere)).await;
            assert_eq!(absent["code"], 1004, "{kind} {absent}");
            assert_eq!(eves.refused(kind, data(group)).await, absent, "{kind} in {group}");
        }
        let sync = |conversation: &str| json!({"positions": {conversation: 0}});
        let absent = eves.refused("sync", sync(nowhere)).await.to_string();
        let hidden = eves.refused("sync", sync(group)).await.to_string();
        assert_eq!(hidden.replace(group.as_str(), nowhere), absent);
    }
    are_not_there(&api, &eve, [&in_group, &in_pair]).await;
    for conversation in [&open, &over, &pair] {
        let (hidden, absent) = (by_grpc(&server, conversation, &eve).await, by_grpc(&server, nowhere, &eve).await);
        assert_eq!(hidden, absent, "{conversation}");
    }
    assert!(server.stop().await.success());
}

/// Every call about a conversation (`{c}`) or group (`{g}`).
fn calls(bob: &Account) -> Vec<(Method, String, Option<Value>)> {
    let ids = json!({"userIds": [bob.user_id]});
    let member = format!("/api/groups/{{g}}/members/{}", bob.user_id);
    vec![
        (Method::GET, "/api/conversations/{c}/messages".into(), None),
        (Method::GET, "/api/conversations/{c}/read".into(), None),
        (Method::POST, "/api/conversations/{c}/read".into(), Some(json!({"seqId": 1}))),
        (Method::GET, "/api/groups/{g}".into(), None),
        (Method::PATCH, "/api/groups/{g}".into(), Some(json!({"name": "x"}))),
        (Method::DELETE, "/api/groups/{g}".into(), None),
        (Method::GET, "/api/groups/{g}/members".into(), None),
        (Method::GET, "/api/groups/{g}/members?online=true".into(), None),
        (Method::POST, "/api/groups/{g}/members".into(), Some(ids)),
        (Method::DELETE, member.clone(), None),
        (Method::PATCH, member, Some(json!({"role": "admin"}))),
    ]
}

/// What gRPC answers to somebody about a conversation: codes and sentences.
async fn by_grpc(server: &Server, conversation: &str, reader: &Account) -> Vec<(tonic::Code, String)> {
    let address = format!("http://{}", server.grpc);
    let mut messages = MessageRepoClient::connect(address.clone()).await.unwrap();
    let mut conversations = ConversationServiceClient::connect(address.clone()).await.unwrap();
    let mut groups = GroupRepoClient::connect(address).await.unwrap();
    let (conversation_id, user_id) = (conversation.to_owned(), reader.user_id.parse().unwrap());
    let group_id = conversation.strip_prefix("group_").map_or(4_711, |id| id.parse().unwrap());
    let position = pb::MessagePosition { conversation_id: conversation_id.clone(), seq_id: 1 };
    let by = Some(pb::get_message_request::By::Position(position));
    let saved = pb::SaveMessageRequest {
        conversation_id: conversation_id.clone(),
        sender_id: user_id,
        client_msg_id: "k".into(),
        message_type: "text".into(),
        content: "x".into(),
    };
    let history = pb::GetConversationMessagesRequest {
        conversation_id: conversation_id.clone(),
        reader_id: Some(user_id),
        ..Default::default()
    };
    let marked = pb::MarkAsReadRequest { conversation_id: conversation_id.clone(), user_id, seq_id: 1 };
    let marks = pb::GetReadMarksRequest { conversation_id: conversation_id.clone(), reader_id: Some(user_id) };
    let members = pb::GetGroupMembersRequest { group_id, reader_id: Some(user_id), ..Default::default() };
    let answers = [
        messages.get_message(pb::GetMessageRequest { by, reader_id: Some(user_id) }).await.map(|_| ()),
        messages.save_message(saved).await.map(|_| ()),
        conversations.get_conversation_messages(history).await.map(|_| ()),
        conversations.mark_as_read(marked).await.map(|_| ()),
        conversations.get_read_marks(marks).await.map(|_| ()),
        conversations.get_access(pb::GetAccessRequest { conversation_id, user_id }).await.map(|_| ()),
        groups.get_group(pb::GetGroupRequest { group_id, reader_id: Some(user_id) }).await.map(|_| ()),
        groups.get_group_members(members.clone()).await.map(|_| ()),
        groups.get_online_group_members(members).await.map(|_| ()),
        groups.dissolve_group(pb::DissolveGroupRequest { group_id, actor_id: user_id }).await.map(|_| ()),
    ];
    let refusals: Vec<_> = answers.into_iter().map(Result::unwrap_err).collect();
    assert!(refusals.iter().all(|status| status.code() == tonic::Code::NotFound), "{refusals:?}");
    refusals.into_iter().map(|status| (status.code(), status.message().to_owned())).collect()
}
