//! A WebSocket as a client uses it.

use std::fmt::Display;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A WebSocket of a client.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a client reads and writes at once: thousands of them live in one process.
const BUFFER_BYTES: usize = 4 * 1_024;

/// Opens a socket, or says why not.
pub async fn connect(at: impl Display, token: &str) -> Result<Socket, String> {
    let url = format!("ws://{at}/ws?token={token}&device=test");
    let buffers = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    // With Nagle's algorithm a frame would wait for the acknowledgement of the one before.
    let connected = connect_async_with_config(url, Some(buffers), true).await;
    connected.map(|(socket, _)| socket).map_err(|e| e.to_string())
}

/// Sends a frame.
pub async fn send(socket: &mut Socket, frame: &Value) -> Result<(), String> {
    socket.send(Message::text(frame.to_string())).await.map_err(|e| e.to_string())
}

/// The next frame that is JSON text; an error when the socket ends or nothing comes for 10 s.
pub async fn receive(socket: &mut Socket) -> Result<Value, String> {
    loop {
        let frame = timeout(Duration::from_secs(10), socket.next()).await.map_err(|_| "nothing came for 10 s")?;
        match frame.ok_or("the socket ended")?.map_err(|e| e.to_string())? {
            Message::Text(text) => return serde_json::from_str(&text).map_err(|e| e.to_string()),
            Message::Close(close) => return Err(format!("closed: {}", close.map_or(0, |close| close.code.into()))),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// The next frame of a type; others are passed over.
pub async fn receive_type(socket: &mut Socket, kind: &str) -> Result<Value, String> {
    loop {
        let frame = receive(socket).await?;
        if frame["type"] == kind {
            return Ok(frame["data"].clone());
        }
    }
}
