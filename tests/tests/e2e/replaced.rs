//! Gateways beside each other: two that were given one slot, two processes of one instance, who is online at
//! the others, and what is left of all when the broker stood still.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::api::{Account, Api};
use tests::broker::{Broker, shared};
use tests::client::{Socket, connect, receive, receive_type, send};
use tests::installation::{Installation, Part, Settings};
use tests::server::{Server, any_port};

const fn part(roles: &'static str, instance: u16, slot: u16) -> Part {
    Part { roles, instance, slot }
}

const STAGES_AND_REPO: Part = part("repo,dedupe,id-assign,persist,fan-out,large-group", 0, 0);

/// The lines of a log with these words.
fn lines_of(log: &Path, words: &str) -> usize {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.starts_with('{') && line.contains(words)).count()
}

async fn socket_of(account: &Account, server: &Server) -> Socket {
    let mut socket = connect(server.http, &account.token).await.unwrap();
    receive_type(&mut socket, "hello").await.unwrap();
    socket
}

/// How the server closes a socket.
async fn close_of(socket: &mut Socket) -> String {
    loop {
        if let Err(end) = receive(socket).await {
            return end;
        }
    }
}

async fn say(socket: &mut Socket, key: &str) {
    let data = json!({"clientMsgId": key, "conversationId": "world", "messageType": "text", "content": key});
    send(socket, &json!({"type": "send-message", "data": data})).await.unwrap();
}

/// Waits until it is told to be stored. What a killed process had not committed is told once more.
async fn stored(socket: &mut Socket, key: &str) {
    while receive_type(socket, "message-stored").await.unwrap()["clientMsgId"] != key {}
}

async fn follow(socket: &mut Socket, account: &Account) {
    send(socket, &json!({"type": "subscribe-presence", "data": {"userIds": [account.user_id]}})).await.unwrap();
}

/// The next change of presence that a socket hears of.
async fn online(socket: &mut Socket) -> Value {
    receive_type(socket, "presence").await.unwrap()["online"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_second_gateway_on_a_slot_takes_it_over_and_the_first_one_ends() {
    let installation = Installation::new(Settings::on(shared()));
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let log = installation.config().with_file_name("first.log");
    let first = installation.start_logged(part("gateway", 1, 0), rest.grpc, log.clone()).await;
    let api = Api::new(first.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let mut socket = socket_of(&ann, &first).await;
    let second = installation.start(part("gateway", 2, 0), any_port(), rest.grpc).await;
    assert_eq!(close_of(&mut socket).await, "closed: 1001");
    assert_eq!(first.ends().await.code(), Some(1));
    assert_eq!(lines_of(&log, "a --slot of its own"), 1);

    let (mut of_ann, mut of_bob) = (socket_of(&ann, &second).await, socket_of(&bob, &second).await);
    say(&mut of_ann, "here").await;
    assert_eq!(receive_type(&mut of_bob, "message").await.unwrap()["content"], "here");
    for server in [second, rest] {
        assert!(server.stop().await.success());
    }
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
    let gateway = installation.start(part("gateway", 1, 0), any_port(), grpc).await;
    let ann = Api::new(gateway.http).register("ann").await;
    let mut socket = socket_of(&ann, &gateway).await;
    say(&mut socket, "here").await;
    stored(&mut socket, "here").await;
    assert!(second.ended().is_none());
    // Killed and started again at once, the dead one may still be a member of its groups.
    second.kill().await;
    let again = installation.start(STAGES_AND_REPO, any_port(), grpc).await;
    say(&mut socket, "again").await;
    stored(&mut socket, "again").await;
    for server in [gateway, again] {
        assert!(server.stop().await.success());
    }
}

/// Nothing of it is in a stage's group.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_a_second_repo_of_an_instance_ends_the_first() {
    let installation = Installation::new(Settings::on(shared()));
    let log = installation.config().with_file_name("first.log");
    let first = installation.start_logged(part("repo", 3, 0), any_port(), log.clone()).await;
    let second = installation.start(part("repo", 3, 0), any_port(), any_port()).await;
    let other = installation.start(part("repo", 4, 0), any_port(), any_port()).await;
    assert_eq!(first.ends().await.code(), Some(1));
    assert_eq!(lines_of(&log, "an --instance of its own"), 1);
    for server in [second, other] {
        assert!(server.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_presence_is_that_of_all_gateways() {
    let installation = Installation::new(Settings::on(shared()));
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let here = installation.start(part("gateway", 1, 0), any_port(), rest.grpc).await;
    let there = installation.start(part("gateway", 2, 1), any_port(), rest.grpc).await;
    let api = Api::new(here.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let of_bob = socket_of(&bob, &there).await;
    let mut of_ann = socket_of(&ann, &here).await;
    follow(&mut of_ann, &bob).await;
    // What the other gateway told of Bob before his hello may be on its way to this one still.
    if online(&mut of_ann).await == json!(false) {
        assert_eq!(online(&mut of_ann).await, true);
    }
    drop(of_bob);
    assert_eq!(online(&mut of_ann).await, false);
    let _of_bob = socket_of(&bob, &there).await;
    assert_eq!(online(&mut of_ann).await, true);
    there.kill().await;
    // Its gateway is silent for 15 s while the other is heard, and then dead.
    let gone = async {
        loop {
            if let Ok(frame) = receive(&mut of_ann).await
                && frame["type"] == "presence"
            {
                return frame["data"]["online"].clone();
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(40), gone).await.unwrap(), false);
    for server in [here, rest] {
        assert!(server.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_what_is_said_right_after_the_broker_stood_still_is_delivered_live() {
    const STANDSTILL: Duration = Duration::from_secs(25);
    let broker = Broker::start().await;
    let installation = Installation::new(Settings { heads_every_seconds: 600, ..Settings::on(broker.address()) });
    let rest = installation.start(STAGES_AND_REPO, any_port(), any_port()).await;
    let here = installation.start(part("gateway", 1, 0), any_port(), rest.grpc).await;
    let there = installation.start(part("gateway", 2, 1), any_port(), rest.grpc).await;
    let api = Api::new(here.http);
    let (ann, bob) = (api.register("ann").await, api.register("bob").await);
    let (mut of_ann, mut of_bob) = (socket_of(&ann, &here).await, socket_of(&bob, &there).await);
    say(&mut of_ann, "before").await;
    assert_eq!(receive_type(&mut of_bob, "message").await.unwrap()["content"], "before");
    broker.signal("STOP", 1).await;
    tokio::time::sleep(STANDSTILL).await;
    broker.signal("CONT", 1).await;
    for n in 0..20 {
        let content = format!("after-{n}");
        let stored = async {
            loop {
                say(&mut of_ann, &content).await;
                match receive(&mut of_ann).await {
                    Ok(frame) if frame["type"] == "message-ack" => return,
                    Ok(_) | Err(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), stored).await.expect("it is taken");
        let seen = async {
            while receive_type(&mut of_bob, "message").await.ok().is_none_or(|message| message["content"] != *content) {
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap_or_else(|_| panic!("{content} is not seen"));
    }
    for server in [here, there, rest] {
        assert!(server.stop().await.success());
    }
}
