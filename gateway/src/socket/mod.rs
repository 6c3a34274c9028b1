//! `/ws`: from the upgrade to the close of a socket.
//!
//! [`upgrade`] checks who connects; [`lifecycle`] is the task of a socket, most of which is [`connection`]; [`answers`]
//! answers the client's frames.

mod answers;
mod connection;
mod heads;
mod lifecycle;
mod outgoing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use listener::{Crowded, Seat};
use schemas::error::{ErrorCode, Refusal};
use schemas::token::Claims;
use serde::Deserialize;
use topics::backlog::Shortage;
use topics::headers::{TRACE_HEADER, TraceParent};

use crate::close_reason::CloseReason;
use crate::edge::Edge;
use crate::failure::Failure;
use crate::origin;
use crate::request::{Address, QueryParams, bearer};
use crate::send_queue::{Identity, Socket};
use crate::sign_ins::is_over;

/// Bytes that a socket reads at once. At the library's default a socket costs 128 KiB.
const READ_BUFFER_BYTES: usize = 4 * 1_024;
/// Bytes of frames that are collected before they are written; less at the end of each batch.
const WRITE_BUFFER_BYTES: usize = 16 * 1_024;

/// The query of `/ws`. The device's name is only for the log.
#[derive(Debug, Deserialize)]
pub struct Parameters {
    token: Option<String>,
    device: Option<String>,
    traceparent: Option<String>,
}

/// `GET /ws`. A token that is not valid closes the socket with 4001 after the upgrade: a page can't see the HTTP status
/// of a refused upgrade.
pub async fn upgrade(
    State(edge): State<Arc<Edge>>,
    Address(address): Address,
    Extension(seat): Extension<Arc<Seat>>,
    headers: HeaderMap,
    QueryParams(parameters): QueryParams<Parameters>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(not_a_websocket(&rejection)),
    };
    origin::check(&headers, &edge.config.allowed_origins)?;
    let full = || Refusal::new(ErrorCode::Busy, "this server takes no more connections: try another");
    if edge.closing.is_cancelled()
        || edge.sessions.open() >= edge.config.sockets_max
        || edge.backlog.is_short_of(Shortage::Memory)
    {
        return Err(full().into());
    }
    let admitted = admit(&edge, bearer(&headers).or(parameters.token.as_deref()).unwrap_or_default()).await;
    if admitted.is_ok() {
        seat.keep(address).map_err(|Crowded| full())?;
    }
    let given = headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok()).or(parameters.traceparent.as_deref());
    let trace = given.and_then(|text| text.parse::<TraceParent>().ok());
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_frame_size(edge.config.frame_bytes_max)
        .max_message_size(edge.config.frame_bytes_max);
    Ok(upgrade.on_upgrade(async move |stream| {
        let claims = match admitted {
            Ok(claims) => claims,
            Err(reason) => return edge.connections.track_future(lifecycle::close(stream, reason, &edge)).await,
        };
        let socket = edge.next_socket.fetch_add(1, Ordering::Relaxed);
        let device = parameters.device.as_deref().unwrap_or_default();
        tracing::debug!(user = %claims.user_id, socket, device, "connected");
        let Claims { user_id: user, session_id, .. } = claims;
        let identity = Identity { socket, user, session_id, address, trace };
        let socket = Arc::new(Socket::new(identity, &edge.config, &edge.send_bytes));
        // A new task: that of the upgrade is larger, and would live as long as the socket.
        edge.connections.spawn(lifecycle::run(Box::new(stream), socket, edge.clone()));
    }))
}

/// The answer to a request that opens no socket. It names the supported version where the client's is another
/// (RFC 6455, section 4.4).
fn not_a_websocket(rejection: &WebSocketUpgradeRejection) -> Response {
    let status = match rejection {
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => StatusCode::UPGRADE_REQUIRED,
        WebSocketUpgradeRejection::MethodNotGet(_) => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::BAD_REQUEST,
    };
    let refusal = Refusal::invalid(format!("not a WebSocket: {rejection}"));
    let mut response = Failure::with_status(status, refusal).into_response();
    let headers = match status {
        StatusCode::UPGRADE_REQUIRED => {
            vec![(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")]
        }
        StatusCode::METHOD_NOT_ALLOWED => vec![(header::ALLOW, "GET")],
        _ => Vec::new(),
    };
    response.headers_mut().extend(headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Checks the token and the sign-in. A repo that does not answer keeps nobody out: each `heads` checks the sign-in
/// again.
async fn admit(edge: &Edge, token: &str) -> Result<Claims, CloseReason> {
    let claims = edge.verify(token).map_err(|_| CloseReason::Unauthenticated)?;
    match edge.sign_ins.check(&edge.repo.of(claims.user_id), &claims).await {
        Err(refusal) if is_over(&refusal) => Err(CloseReason::LoggedOut),
        Ok(()) | Err(_) => Ok(claims),
    }
}
