//! Gateways beside each other: two that were given one slot, two processes of one instance, who is online at
//! the others, and what is left of all when the broker stood still.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::api::{Account, Api};
use tests::broker::{Broker, shared};
use tests::client::{receive, receive_type};
use tests::installation::{Installation, Part, Settings};
use tests::server::{Server, any_port};
use tests::users::{Talker, registered, text, with};

const STAGES_AND_REPO: Part = Part::new("repo,dedupe,id-assign,persist,fan-out,large-group", 0);

/// The lines of a log with these words.
fn lines_of(log: &Path, words: &str) -> usize {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.starts_with('{') && line.contains(words)).count()
}

/// How the server closes a socket.
async fn close_of(socket: &mut Talker) -> String {
    loop {
        if let Err(end) = receive(&mut socket.socket).await {
            return end;
        }
    }
}

async fn say(socket: &mut Talker, key: &str) {
    socket.send("send-message", with(text("world", key), json!({"clientMsgId": key}))).await;
}

/// Waits until it is told to be stored. What a killed process had not committed is told once more.
async fn stored(socket: &mut Talker, key: &str) {
    while socket.hears("message-stored").await["clientMsgId"] != key {}
}

async fn follow(socket: &mut Talker, account: &Account) {
    socket.send("subscribe-presence", json!({"userIds": [account.user_id]})).await;
}

/// The next change of presence that a user hears of.
async fn online(talker: &mut Talker) -> bool {
    talker.hears("presence").await["online"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_second_gateway_on_a_slot_takes_it_over_and_the_first_one_ends() {
    let installation = Installation::new(Settings::on(shared()));
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let log = installation.config().with_file_name("first.log");
    let first = installation.start_logged(Part::new("gateway", 1), rest.grpc, log.clone()).await;
    let api = Api::new(first.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let mut socket = Talker::connect(&first, &ann).await;
    let second = installation.start(Part::new("gateway", 2), any_port(), rest.grpc).await;
    assert_eq!(close_of(&mut socket).await, "closed: 1001");
    assert_eq!(first.ends().await.code(), Some(1));
    assert_eq!(lines_of(&log, "a --slot of its own"), 1);

    let [mut of_ann, mut of_bob] = Talker::all(&second, [&ann, &bob]).await;
    say(&mut of_ann, "here").await;
    assert_eq!(of_bob.hears("message").await["content"], "here");
    Server::stop_all([second, rest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_second_process_of_an_instance_ends_the_first_and_only_it() {
    let installation = Installation::new(Settings::on(shared()));
    let log = installation.config().with_file_name("first.log");
    let first = installation.start_logged(STAGES_AND_REPO, any_port(), log.clone()).await;
    let mut second = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    assert_eq!(first.ends().await.code(), Some(1));
    assert_eq!(lines_of(&log, "an --instance of its own"), 1);
    assert_eq!(lines_of(&log, "task restarts"), 0, "{}", std::fs::read_to_string(&log).unwrap());
    let grpc = second.grpc;
    let gateway = installation.start(Part::new("gateway", 1), any_port(), grpc).await;
    let ann = Api::new(gateway.http).register("ann").await;
    let mut socket = Talker::connect(&gateway, &ann).await;
    say(&mut socket, "here").await;
    stored(&mut socket, "here").await;
    assert!(second.ended().is_none());
    // Killed and started again at once, the dead one may still be a member of its groups.
    second.kill().await;
    let again = installation.start(STAGES_AND_REPO, any_port(), grpc).await;
    say(&mut socket, "again").await;
    stored(&mut socket, "again").await;
    Server::stop_all([gateway, again]).await;
}

/// Nothing of it is in a stage's group.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_second_repo_of_an_instance_ends_the_first() {
    let installation = Installation::new(Settings::on(shared()));
    let log = installation.config().with_file_name("first.log");
    let first = installation.start_logged(Part::new("repo", 3), any_port(), log.clone()).await;
    let second = installation.start(Part::new("repo", 3), any_port(), any_port()).await;
    let other = installation.start(Part::new("repo", 4), any_port(), any_port()).await;
    assert_eq!(first.ends().await.code(), Some(1));
    assert_eq!(lines_of(&log, "an --instance of its own"), 1);
    Server::stop_all([second, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_presence_is_that_of_all_gateways() {
    let installation = Installation::new(Settings::on(shared()));
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let here = installation.start(Part::new("gateway", 1), any_port(), rest.grpc).await;
    let there = installation.start(Part { slot: 1, ..Part::new("gateway", 2) }, any_port(), rest.grpc).await;
    let api = Api::new(here.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let of_bob = Talker::connect(&there, &bob).await;
    let mut of_ann = Talker::connect(&here, &ann).await;
    follow(&mut of_ann, &bob).await;
    // What the other gateway told of Bob before his hello may be on its way to this one still.
    assert!(online(&mut of_ann).await || online(&mut of_ann).await);
    drop(of_bob);
    assert!(!online(&mut of_ann).await);
    let _of_bob = Talker::connect(&there, &bob).await;
    assert!(online(&mut of_ann).await);
    there.kill().await;
    // Its gateway is silent for 15 s while the other is heard, and then dead.
    let gone = async {
        loop {
            if let Ok(frame) = receive(&mut of_ann.socket).await
                && frame["type"] == "presence"
            {
                return frame["data"]["online"].clone();
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(40), gone).await.unwrap(), false);
    Server::stop_all([here, rest]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_what_is_said_right_after_the_broker_stood_still_is_delivered_live() {
    const STANDSTILL: Duration = Duration::from_secs(25);
    let broker = Broker::start().await;
    let installation = Installation::new(Settings { heads_every_seconds: 600, ..Settings::on(broker.address()) });
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let here = installation.start(Part::new("gateway", 1), any_port(), rest.grpc).await;
    let there = installation.start(Part { slot: 1, ..Part::new("gateway", 2) }, any_port(), rest.grpc).await;
    let api = Api::new(here.http);
    let [ann, bob] = registered(&api, ["ann", "bob"]).await;
    let (mut of_ann, mut of_bob) = (Talker::connect(&here, &ann).await, Talker::connect(&there, &bob).await);
    say(&mut of_ann, "before").await;
    assert_eq!(of_bob.hears("message").await["content"], "before");
    broker.signal("STOP", 1).await;
    tokio::time::sleep(STANDSTILL).await;
    broker.signal("CONT", 1).await;
    for n in 0..20 {
        let content = format!("after-{n}");
        let stored = async {
            loop {
                say(&mut of_ann, &content).await;
                match receive(&mut of_ann.socket).await {
                    Ok(frame) if frame["type"] == "message-ack" => return,
                    Ok(_) | Err(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), stored).await.expect("it is taken");
        let seen = async {
            while receive_type(&mut of_bob.socket, "message")
                .await
                .ok()
                .is_none_or(|message| message["content"] != *content)
            {}
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap_or_else(|_| panic!("{content} is not seen"));
    }
    Server::stop_all([here, there, rest]).await;
}
