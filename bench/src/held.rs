//! Sockets that are held, each having sent and received: memory that a server gives only to sockets in
//! use is in use.

use std::time::Duration;

use futures::{SinkExt, StreamExt, stream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use crate::client::{Account, Socket};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pairs of sockets that are under way at once.
const AT_ONCE: usize = 32;

/// A socket that was not held.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    #[error("the server closed a socket that it should hold")]
    Closed,
    #[error("a socket broke that should be held")]
    Broken(#[source] Box<SocketError>),
    #[error("no {kind} came to a socket within {} s", ANSWER_MAX.as_secs())]
    Silent {
        /// What was waited for.
        kind: &'static str,
    },
}

impl From<SocketError> for HeldError {
    fn from(error: SocketError) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// Has neighbours (0 and 1, 2 and 3, …) say one thing to each other, and returns their sockets.
///
/// # Errors
/// [`HeldError`] for the first socket on which something does not come.
pub async fn greet(clients: Vec<(Account, Socket)>, run: &str) -> Result<Vec<Socket>, HeldError> {
    let mut pairs = Vec::with_capacity(clients.len() / 2);
    let mut clients = clients.into_iter();
    while let (Some(one), Some(other)) = (clients.next(), clients.next()) {
        pairs.push((one, other));
    }
    let mut greetings = stream::iter(pairs).map(|(one, other)| greet_pair(one, other, run)).buffer_unordered(AT_ONCE);
    let mut sockets = Vec::new();
    while let Some(pair) = greetings.next().await {
        sockets.extend(pair?);
    }
    Ok(sockets)
}

async fn greet_pair(one: (Account, Socket), other: (Account, Socket), run: &str) -> Result<[Socket; 2], HeldError> {
    let ((a, mut one), (b, mut other)) = (one, other);
    let conversation = a.pair_with(&b);
    say(&mut one, &conversation, &format!("{run}-{}", a.user_id)).await?;
    await_frame(&mut other, "message").await?;
    say(&mut other, &conversation, &format!("{run}-{}", b.user_id)).await?;
    await_frame(&mut one, "message").await?;
    Ok([one, other])
}

async fn say(socket: &mut Socket, conversation: &str, client_msg_id: &str) -> Result<(), HeldError> {
    let frame = format!(
        r#"{{"type":"send-message","data":{{"clientMsgId":"{client_msg_id}","conversationId":"{conversation}","messageType":"text","content":"hello"}}}}"#
    );
    Ok(socket.send(Message::text(frame)).await?)
}

/// Asks every socket whether it is still served; returns how many answered.
///
/// # Errors
/// [`HeldError`] for the first one that does not.
pub async fn still_served(sockets: &mut [Socket]) -> Result<u64, HeldError> {
    let mut answers = stream::iter(sockets)
        .map(|socket| async move {
            socket.send(Message::text(r#"{"type":"ping"}"#)).await?;
            await_frame(socket, "pong").await
        })
        .buffer_unordered(AT_ONCE);
    let mut served = 0;
    while let Some(answer) = answers.next().await {
        answer?;
        served += 1;
    }
    Ok(served)
}

/// Reads until a frame of this type comes.
async fn await_frame(socket: &mut Socket, kind: &'static str) -> Result<(), HeldError> {
    let start = format!(r#"{{"type":"{kind}""#);
    let read = async {
        loop {
            match socket.next().await.ok_or(HeldError::Closed)?? {
                Message::Text(text) if text.starts_with(&start) => return Ok(()),
                Message::Close(_) => return Err(HeldError::Closed),
                Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    };
    timeout(ANSWER_MAX, read).await.map_err(|_| HeldError::Silent { kind })?
}
