//! Changes of a group while the process is killed again and again: each tells the conversation once, in
//! order.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use schemas::records::GroupEvent;
use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::server::Server;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const KILLS: usize = 4;
/// Changes that were made before each kill.
const CHANGES_A_LIFE: i64 = 15;
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(60);

/// Renames a group on and on, whether or not anybody answers; tells each version that it hears of.
fn renaming(http: SocketAddr, ann: Account, group: String) -> (JoinHandle<()>, watch::Receiver<i64>) {
    let (tell, heard) = watch::channel(1);
    let task = tokio::spawn(async move {
        let client = reqwest::Client::new();
        for n in 0_u64.. {
            let request = client
                .patch(format!("http://{http}/api/groups/{group}"))
                .bearer_auth(&ann.token)
                .json(&json!({"name": format!("tea {n}")}))
                .timeout(Duration::from_secs(5));
            let Ok(answer) = request.send().await else {
                // Nobody is there: what refuses a connection does so at once.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let Ok(answer) = answer.json::<Value>().await else { continue };
            if let Some(version) = answer["version"].as_i64() {
                tell.send_replace(version);
            }
        }
    });
    (task, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_group_is_told_once_and_in_order_whenever_the_process_dies() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path()).await;
    let (http, grpc) = (server.http, server.grpc);
    let api = Api::new(http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let conversation = api.group(&ann, "tea", std::slice::from_ref(&bob.user_id)).await;
    let (renaming, mut heard) = renaming(http, ann.clone(), conversation.replace("group_", ""));
    for _ in 0..KILLS {
        let enough = *heard.borrow() + CHANGES_A_LIFE;
        let changed = timeout(CATCH_UP_TIME_MAX, heard.wait_for(|version| *version >= enough)).await;
        changed.expect("changes go on").unwrap();
        server.kill().await;
        server = Server::start_at(data.path(), http, grpc).await;
    }
    renaming.abort();
    let _ = renaming.await;

    let path = format!("/api/groups/{}", conversation.replace("group_", ""));
    let told = async {
        loop {
            // Asked in this order: what changed the group before this answer is told in the end.
            let version = api.ok(Method::GET, &path, &ann, None).await["version"].as_i64().unwrap();
            let events: Vec<GroupEvent> = api
                .history(&bob, &conversation)
                .await
                .iter()
                .map(|message| serde_json::from_str(message["content"].as_str().unwrap()).unwrap())
                .collect();
            if events.last().is_some_and(|event| event.version >= version) {
                break (version, events);
            }
        }
    };
    let (version, events) = timeout(CATCH_UP_TIME_MAX, told).await.expect("all changes are told");
    let versions: Vec<_> = events.iter().map(|event| event.version).collect();
    assert_eq!(versions, (1..=version).collect::<Vec<_>>());
    assert!(version > KILLS as i64 * CHANGES_A_LIFE, "{version}");
    println!("{version} changes over {KILLS} kills, each told once and in order");
    assert!(server.stop().await.success());
}
