//! `heads`: the conversations with new messages since the last `heads` of a socket.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use futures::future::{BoxFuture, FutureExt};
use schemas::ids::UserId;
use schemas::pb::GetHeadsRequest;
use tokio::time::Instant;

use crate::edge::Edge;
use crate::frames;
use crate::sign_ins::is_over;

/// When the repo was last asked for heads.
#[derive(Clone, Copy)]
pub(super) struct HeadsAsked {
    /// By the repo's clock; 0: not yet.
    as_of: i64,
    /// By this process's monotonic clock.
    at: Instant,
}

impl HeadsAsked {
    /// Not yet: the socket opens now.
    pub(super) fn not_yet(now: Instant) -> Self {
        Self { as_of: 0, at: now }
    }
}

pub(super) enum Heads {
    /// A frame for the client, if anything has changed.
    Answer { frame: Option<Utf8Bytes>, asked: HeadsAsked },
    /// The repo failed; the next request brings it.
    NoAnswer,
    /// The user is banned, or has signed out elsewhere.
    SignInIsOver,
}

/// Asks for what has changed since `before`.
pub(super) fn heads(edge: Arc<Edge>, user: UserId, session_id: i64, before: HeadsAsked) -> BoxFuture<'static, Heads> {
    async move {
        let repo = edge.repo.of(user);
        let Ok(_permit) = edge.heads_permits.acquire().await else { return Heads::NoAnswer };
        let at = Instant::now();
        let elapsed_ms = i64::try_from(at.duration_since(before.at).as_millis()).unwrap_or(i64::MAX);
        let request = GetHeadsRequest {
            user_id: user.0,
            changed_since: before.as_of,
            session_id: Some(session_id),
            elapsed_ms: Some(elapsed_ms),
        };
        match repo.get_heads(request).await {
            Ok(answer) => {
                let tells = before.as_of == 0 || !answer.heads.is_empty();
                let frame = tells.then(|| frames::heads(&answer.heads));
                Heads::Answer { frame, asked: HeadsAsked { as_of: answer.as_of, at } }
            }
            Err(refusal) if is_over(&refusal) => Heads::SignInIsOver,
            Err(_) => Heads::NoAnswer,
        }
    }
    .boxed()
}
