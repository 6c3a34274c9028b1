//! The retention of the store, as clients and tools see it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::api::Api;
use tests::server::{Launch, Server, any_port, tool};
use tests::users::{Talker, registered};
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(60);
const REMOVED: &str = "gochat_store_retired_total";

fn seqs(messages: &[Value]) -> Vec<i64> {
    messages.iter().map(|message| message["seqId"].as_i64().unwrap()).collect()
}

/// Runs a tool that must succeed, beside the process.
async fn finds_nothing(data: &Path, args: &[&str]) {
    let (code, out, err) = tool(&[args, &["--data", data.to_str().unwrap()]].concat()).await;
    assert!(code == Some(0) && !out.contains("BROKEN"), "{args:?}: {out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_retention_are_gone_for_clients_and_no_tool_misses_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let server = Server::start(data).await;
    let [ann, bob] = registered(&Api::new(server.http), ["ann", "bob"]).await;
    let pair = ann.pair_with(&bob);
    let mut anns = Talker::connect(&server, &ann).await;
    for n in 1..=20 {
        anns.say(&pair, &format!("m{n}")).await;
    }
    anns.put("react", json!({"conversationId": pair, "targetSeqId": 3, "emoji": "👍"})).await;
    assert!(server.stop().await.success());

    let kept = [("GOCHAT__REPO__STORE__RETENTION_MESSAGES_A_CONVERSATION", "6")];
    let log = data.join("process.log");
    let launch = Launch { log: Some(log.clone()), ..Launch::new(&[], &kept) };
    let server = Server::launch(data, any_port(), any_port(), &launch).await.unwrap();
    let deadline = Instant::now() + WAIT;
    while server.metric(REMOVED).await < 15.0 {
        assert!(Instant::now() < deadline, "it sweeps at its start");
        sleep(Duration::from_millis(20)).await;
    }
    let api = Api::new(server.http);
    let history = api.history(&bob, &pair).await;
    assert_eq!(seqs(&history), (16..=21).collect::<Vec<_>>());
    assert_eq!(history[5]["content"], "", "the reaction goes with its message");
    let row = api.conversation(&bob, &pair).await;
    assert_eq!((&row["lastSeq"], &row["unread"], &row["lastMessage"]["seqId"]), (&json!(21), &json!(5), &json!(20)));
    let mut bobs = Talker::connect(&server, &bob).await;
    bobs.send("sync", json!({"positions": {&pair: 3}})).await;
    let synced = bobs.hears("sync-result").await;
    assert_eq!(seqs(synced["messages"].as_array().unwrap()), (16..=21).collect::<Vec<_>>());
    assert_eq!((&synced["hasMore"], &synced["recovered"]), (&json!(false), &json!(true)), "{synced}");
    let mut anns = Talker::connect(&server, &ann).await;
    let edit = json!({"clientMsgId": "late", "conversationId": pair, "targetSeqId": 3, "content": "late"});
    assert_eq!(anns.refused("edit-message", edit).await["name"], "ConversationNotFound");
    assert_eq!(anns.say(&pair, "on").await["seqId"], 22);
    finds_nothing(data, &["check"]).await;
    finds_nothing(data, &["rebuild", "store"]).await;
    assert!(server.stop().await.success());
    let said = std::fs::read_to_string(log).unwrap();
    assert_eq!(said.matches("messages beyond the retention were removed from the store").count(), 1, "{said}");

    let server = Server::start(data).await;
    let history = Api::new(server.http).history(&ann, &pair).await;
    assert_eq!(seqs(&history), (16..=22).collect::<Vec<_>>(), "what is gone stays so");
    assert!(server.stop().await.success());
}
