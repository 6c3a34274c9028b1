//! Connections of hostile clients: they are closed in time, and keep nobody out.

use std::net::SocketAddr;

use futures::future::join_all;
use gateway::GatewayConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Gateway, gateway, gateway_with, within};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &str = "POST /api/auth/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// A connection from an address of loopback.
async fn from(address: &str, gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    within(socket.connect(gateway.address.parse().unwrap())).await.unwrap()
}

async fn write(stream: &mut TcpStream, text: &str) {
    within(stream.write_all(text.as_bytes())).await.unwrap();
}

/// All that comes until the server closes the connection.
async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // It may be reset, with what was sent still unread.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of the next answer, which has a body of known length.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("an answer"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
    within(stream.read_exact(&mut vec![0; length.parse().unwrap()])).await.unwrap();
    head["http/1.1 ".len()..][..3].parse().unwrap()
}

#[tokio::test]
async fn what_never_finishes_a_request_is_closed_and_a_socket_is_not() {
    let gateway =
        gateway_with(GatewayConfig { request_ms: 1_000, repo_timeout_ms: 1_000, idle_ms: 1_000, ..Default::default() })
            .await;
    let mut client = gateway.connect(1).await;
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (String::new(), ""),
        ("GET / HT".into(), ""),
        (upgrade.into(), ""),
        (format!("{upgrade}\r\n"), "HTTP/1.1 101 "),
        (format!("{POST}Content-Length: 50\r\n\r\n{{\"user"), ""),
        (format!("{POST}Transfer-Encoding: chunked\r\n\r\n6\r\n{{\"user"), ""),
        (LIVE.into(), "HTTP/1.1 200 "),
        (format!("{LIVE}GET / HT"), "HTTP/1.1 200 "),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(200_000)), "HTTP/1.1 431 "),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: a\r\n".repeat(101)), "HTTP/1.1 431 "),
    ];
    let held = cases.map(async |(sent, answered): (String, &str)| {
        let mut stream = from("127.0.0.1", &gateway).await;
        // It may be refused before all is sent; then it is reset, and the answer may be lost.
        let _ = within(stream.write_all(sent.as_bytes())).await;
        let said = to_the_end(&mut stream).await;
        let shown: String = sent.chars().take(200).collect();
        assert!(said.starts_with(answered) || (said.is_empty() && answered.contains("431")), "{shown}: {said}");
        assert!(!answered.is_empty() || said.is_empty(), "{shown}: {said}");
    });
    join_all(held).await;
    client.send(json!({"type": "ping"})).await;
    client.frame_of("pong").await;
}

#[tokio::test]
async fn an_address_with_too_many_connections_loses_its_own_and_others_notice_nothing() {
    let gateway = gateway_with(GatewayConfig { connections_an_address_max: 8, ..Default::default() }).await;
    let mut others = from("127.0.0.2", &gateway).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut stream = from("127.0.0.1", &gateway).await;
        write(&mut stream, "GET / HT").await;
        held.push(stream);
    }
    for stream in &mut held[..32] {
        assert_eq!(to_the_end(stream).await, "", "the oldest are closed");
    }
    write(&mut others, LIVE).await;
    assert_eq!(status(&mut others).await, 200);
    let mut same = from("127.0.0.1", &gateway).await;
    write(&mut same, LIVE).await;
    assert_eq!(status(&mut same).await, 200, "one who shares the address gets in, too");
}

#[tokio::test]
async fn a_gateway_that_is_full_of_idle_connections_takes_newcomers_and_keeps_sockets() {
    let config = GatewayConfig { sockets_max: 8, connections_max: 8, sockets_a_user_max: 8, ..Default::default() };
    let gateway = gateway_with(config).await;
    let mut client = gateway.connect(1).await;
    let mut held = Vec::new();
    for n in 1..=40 {
        held.push(from(&format!("127.0.1.{n}"), &gateway).await);
    }
    let mut newcomer = gateway.connect(2).await;
    newcomer.nothing_came().await;
    client.nothing_came().await;
    for stream in &mut held[..32] {
        assert_eq!(to_the_end(stream).await, "");
    }
    // Sockets leave an eighth of the connections to requests.
    let mut sockets = Vec::new();
    for user in 3..=7 {
        sockets.push(gateway.connect(user).await);
    }
    let refused = gateway.request("GET", "/health/live", None, None).await;
    assert_eq!(refused.0, 200);
    let url = format!("ws://{}/ws?token={}", gateway.address, gateway.token(8));
    let refused = within(tokio_tungstenite::connect_async(url)).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
}

/// Sends these bytes, and compares the statuses of the answers; the connection then goes on, unless it `ends`.
async fn check(gateway: &Gateway, sent: &str, expected: &[u16], ends: bool) {
    let mut stream = from("127.0.0.1", gateway).await;
    write(&mut stream, sent).await;
    for &expected in expected {
        assert_eq!(status(&mut stream).await, expected, "{sent:?}");
    }
    if ends {
        assert_eq!(to_the_end(&mut stream).await, "", "{sent:?}");
    } else {
        write(&mut stream, LIVE).await;
        assert_eq!(status(&mut stream).await, 200, "{sent:?}");
    }
}

#[tokio::test]
async fn a_head_has_lines_that_end_in_crlf_and_one_host() {
    let gateway = gateway().await;
    check(&gateway, LIVE, &[200], false).await;
    check(&gateway, &format!("\r\n\r\n{LIVE}"), &[200], false).await;
    check(&gateway, "GET /health/live HTTP/1.0\r\n\r\n", &[200], true).await;
    check(&gateway, &LIVE.repeat(3), &[200; 3], false).await;
    for bad in ["GET /health/live HTTP/1.1\r\n\r\n", "GET /health/live HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"] {
        check(&gateway, bad, &[400], false).await;
    }
    for bad in [
        "GET /health/live HTTP/1.1\nHost: x\n\n",
        "GET /health/live HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: x\r\n\n",
        "GET /health/live HTTP/1.1\r\nHost: x\n\r\n",
        "\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        check(&gateway, bad, &[400], true).await;
        check(&gateway, &format!("{LIVE}{bad}"), &[200, 400], true).await;
    }
}

#[tokio::test]
async fn a_body_may_have_any_bytes_and_a_request_may_follow_it() {
    let gateway = gateway().await;
    let body = "{\n \"username\": \"ann\",\n\n \"password\": \"12-45-78\"\r\n\r\n}\n";
    let post = format!("{POST}Content-Length: {}\r\n\r\n{body}", body.len());
    check(&gateway, &post.repeat(2), &[201, 201], false).await;
    check(&gateway, &format!("{post}{LIVE}"), &[201, 200], false).await;
    check(&gateway, &format!("{post}GET / HTTP/1.1\nHost: x\n\n"), &[201, 400], true).await;
    // A body that is not read, of a call that is refused.
    let unread = post.replace("/api/auth/register", "/nowhere");
    check(&gateway, &format!("{unread}{LIVE}"), &[404, 200], false).await;
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    check(&gateway, &format!("{chunked}{LIVE}"), &[201], true).await;
}
