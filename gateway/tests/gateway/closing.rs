//! Every way in which the server ends a socket, with its close code.

use std::time::Duration;

use futures::SinkExt;
use gateway::{GatewayConfig, GatewayError};
use schemas::ids::UserId;
use schemas::pb;
use schemas::token::{Claims, SigningKey};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{EPOCH, NOW, connected, gateway, gateway_with, message, single, within};
use crate::log::Gate;

#[tokio::test]
async fn a_socket_without_a_good_token_is_closed_with_4001() {
    let gateway = gateway().await;
    let claims = Claims { user_id: UserId(1), session_id: 1, expires_at: NOW + 1_000 };
    let forged = SigningKey::generate().unwrap().sign(&claims);
    let expired = gateway.key.sign(&Claims { expires_at: NOW, ..claims });
    for path in
        ["/ws".into(), "/ws?token=nonsense".into(), format!("/ws?token={forged}"), format!("/ws?token={expired}")]
    {
        assert_eq!(gateway.open(&path).await.closed().await, 4001, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_frame_of_the_protocol_closes_the_socket_with_4002() {
    let gateway = gateway_with(GatewayConfig { frame_bytes_max: 20_000, ..Default::default() }).await;
    let mut client = gateway.connect(1).await;
    client.stream.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.closed().await, 4002);
    let mut client = gateway.connect(1).await;
    client.send_text(" ".repeat(20_001)).await;
    assert_eq!(client.closed().await, 4002);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_4008_while_others_go_on() {
    const BATCHES: i64 = 400;
    const BATCH: i64 = 10;
    let config = GatewayConfig { send_queue_frames_max: 32, close_wait_ms: 8_000, ..Default::default() };
    let gateway = gateway_with(config).await;
    let (mut slow, mut quick) = (gateway.connect(1).await, gateway.connect(2).await);
    let content = "x".repeat(8_000);
    for batch in 0..BATCHES {
        let seqs = batch * BATCH + 1..=(batch + 1) * BATCH;
        let messages: Vec<_> = seqs.clone().map(|seq| message(single(1, 2), 3, seq, &content)).collect();
        gateway.deliver(EPOCH, &[1, 2], &messages, None).await;
        for seq in seqs {
            assert_eq!(quick.frame_of("message").await["data"]["seqId"], seq);
        }
    }
    assert_eq!(slow.closed().await, 4008);
    quick.nothing_came().await;
}

#[tokio::test]
async fn a_silent_socket_is_reaped_after_two_heartbeats() {
    let gateway = gateway_with(GatewayConfig { heartbeat_s: 1, heads_after_s: 3_600, ..Default::default() }).await;
    let silent = gateway.connect(1).await;
    let mut lively = gateway.connect(2).await;
    let mut follower = gateway.connect(3).await;
    follower.send(json!({"type": "subscribe-presence", "data": {"userIds": ["1"]}})).await;
    assert_eq!(follower.frame().await["data"]["online"], true);
    // Who reads answers pings; the silent one does not read.
    let (gone, ()) = tokio::join!(follower.frame(), async {
        let quiet = tokio::time::timeout(Duration::from_millis(3_500), lively.frame()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    });
    assert_eq!(gone["data"]["online"], false);
    lively.nothing_came().await;
    let mut silent = silent;
    assert_eq!(silent.closed().await, 4008);
}

#[tokio::test]
async fn a_logout_closes_the_sockets_of_its_session_with_4009() {
    let gateway = gateway().await;
    let mut ended = gateway.connect(1).await;
    let mut other = gateway.open(&format!("/ws?token={}", gateway.token_of(1, 999))).await;
    other.frame_of("hello").await;
    let token = gateway.token(1);
    // Whatever else is sent along, it is the token's own sign-in that ends.
    let (status, _) = gateway.request("POST", "/api/auth/logout", Some(&token), Some(r#"{"refreshToken":"r"}"#)).await;
    assert_eq!(status, 204);
    assert_eq!(gateway.repo.logged_out.lock().unwrap()[..], [pb::LogoutRequest { user_id: 1, session_id: 10 }]);
    assert_eq!(ended.closed().await, 4009);
    other.nothing_came().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_sockets_of_a_user_makes_room() {
    let gateway = gateway_with(GatewayConfig { sockets_a_user_max: 2, ..Default::default() }).await;
    let mut first = gateway.connect(1).await;
    let mut second = gateway.connect(1).await;
    let _third = gateway.connect(1).await;
    assert_eq!(first.closed().await, 4009);
    second.nothing_came().await;
}

#[tokio::test]
async fn a_lost_lease_closes_all_sockets_with_1001_and_ends_the_gateway() {
    let gateway = gateway().await;
    let (mut one, mut two) = (gateway.connect(1).await, gateway.connect(2).await);
    gateway.lease_lost.cancel();
    assert_eq!(one.closed().await, 1001);
    assert_eq!(two.closed().await, 1001);
    let ended = within(gateway.serving).await.unwrap();
    assert!(matches!(ended, Err(GatewayError::LeaseLost { slot: 3 })), "{ended:?}");
}

#[tokio::test]
async fn a_shutdown_closes_sockets_with_1001_and_appends_what_was_taken() {
    let (gateway, mut client) = connected().await;
    gateway.log.gate.send_replace(Gate::Held);
    client.say("world", "last").await;
    gateway.is_appending().await;
    gateway.shutdown.cancel();
    assert_eq!(client.closed().await, 1001);
    gateway.log.gate.send_replace(Gate::Open);
    assert_eq!(&*gateway.upstream(1).await[0].0.client_msg_id, "last");
    assert!(matches!(within(gateway.serving).await, Ok(Ok(()))));
    assert!(tokio::net::TcpStream::connect(&gateway.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn pages_of_other_sites_may_not_connect() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let gateway =
        gateway_with(GatewayConfig { allowed_origins: vec!["https://chat.example".into()], ..Default::default() })
            .await;
    let own = format!("http://{}", gateway.address);
    for (origin, taken) in
        [(own.as_str(), true), ("https://chat.example", true), ("https://evil.example", false), ("null", false)]
    {
        let mut request =
            format!("ws://{}/ws?token={}", gateway.address, gateway.token(1)).into_client_request().unwrap();
        request.headers_mut().insert("Origin", origin.parse().unwrap());
        let answer = within(tokio_tungstenite::connect_async(request)).await;
        assert_eq!(answer.is_ok(), taken, "{origin}");
    }
}
