//! The task of a socket: presence, `hello`, the connection, the close.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::StreamExt;
use schemas::ids::UserId;

use crate::close_reason::CloseReason;
use crate::edge::Edge;
use crate::frames;
use crate::send_queue::Socket;
use crate::sessions::UserChange;
use crate::socket::connection::{Connection, End};
use schemas::time::rfc3339;

/// Serves a socket until either side closes it. What happens once is boxed: it would make every socket's task larger.
pub async fn run(mut stream: Box<WebSocket>, socket: Arc<Socket>, edge: Arc<Edge>) {
    metrics::counter!("gochat_sockets_opened_total").increment(1);
    announce(&edge, edge.sessions.add(socket.clone()), socket.identity.user);
    if edge.closing.is_cancelled() {
        // It opened after all others were closed.
        socket.close(CloseReason::GoingAway);
    }
    let reason = match Box::pin(hello(&mut stream, &socket, &edge)).await {
        Ok(()) => Connection::new(&mut stream, socket.clone(), edge.clone()).serve().await,
        Err(end) => end,
    };
    announce(&edge, edge.sessions.remove(&socket), socket.identity.user);
    match reason {
        End::ByServer(reason) => Box::pin(close(*stream, reason, &edge)).await,
        End::ByClient => {
            metrics::counter!("gochat_sockets_closed_total", "reason" => "client").increment(1);
            // Reading on answers its close frame.
            let wait = Duration::from_millis(edge.config.close_wait_ms);
            let _ = Box::pin(tokio::time::timeout(wait, drain(&mut stream))).await;
        }
    }
}

/// Sends the close frame, and gives the client a bounded time to take its last frames.
pub async fn close(mut stream: WebSocket, reason: CloseReason, edge: &Edge) {
    let (code, sentence) = reason.code_and_sentence();
    metrics::counter!("gochat_sockets_closed_total", "reason" => reason.label()).increment(1);
    let frame = CloseFrame { code, reason: sentence.into() };
    let goodbye = async {
        stream.send(Message::Close(Some(frame))).await?;
        // Wait for the client's answer: the close frame could be lost by closing earlier.
        drain(&mut stream).await;
        Ok::<_, axum::Error>(())
    };
    // A client that reads nothing any more never gets the frame.
    let _ = tokio::time::timeout(Duration::from_millis(edge.config.close_wait_ms), goodbye).await;
}

async fn drain(stream: &mut WebSocket) {
    while let Some(Ok(_)) = stream.next().await {}
}

fn announce(edge: &Edge, change: UserChange, user: UserId) {
    match change {
        UserChange::Changed => {
            edge.presence.changed(user);
            edge.signals.changed(user);
        }
        UserChange::Unchanged => {}
    }
}

/// Sends `hello` once presence is published: from then on messages arrive.
async fn hello(stream: &mut WebSocket, socket: &Socket, edge: &Edge) -> Result<(), End> {
    tokio::select! {
        published = edge.presence.published(edge.append_timeout()) => {
            if !published {
                return Err(End::ByServer(CloseReason::GoingAway));
            }
        }
        reason = socket.closing() => return Err(End::ByServer(reason)),
    }
    let hello = frames::Hello {
        user_id: socket.identity.user,
        session_id: socket.identity.session_id,
        server_time: rfc3339(edge.clock.now_ms()),
        heartbeat_seconds: edge.config.heartbeat_s,
        resend_window_seconds: edge.resend_window.as_secs(),
        protocol: 1,
    };
    let frame = frames::frame("hello", None, &hello);
    stream.send(Message::Text(frame)).await.map_err(|_| End::ByClient)
}
