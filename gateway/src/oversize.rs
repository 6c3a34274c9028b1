//! Refuses a body over the limit, and reads it to its end first: closing a connection while the client still writes
//! resets it, and the client never gets the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemas::error::{ErrorCode, Refusal};

use crate::edge::Edge;
use crate::failure::Failure;

/// Bytes of a refused body that are read and discarded, and how long that may take.
const DISCARDED_BYTES_MAX: usize = 8 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// Answers TooLarge to a request that declares a longer body.
pub async fn refuse(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let max = edge.config.body_bytes_max;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_none_or(|bytes| bytes <= max) {
        return next.run(request).await;
    }
    let mut body = request.into_body().into_data_stream();
    let discard = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Past either limit the answer is sent all the same, and may be lost.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, discard).await;
    too_large(max).into_response()
}

pub fn too_large(max: usize) -> Failure {
    Refusal::new(ErrorCode::TooLarge, format!("a body has at most {max} bytes")).into()
}
