//! How a request that fails is answered.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::error::{ErrorCode, Refusal};
use serde::Serialize;

use crate::views::ErrorView;

/// A refusal as an HTTP response, with `Retry-After` where the client should wait.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    refusal: Refusal,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A refusal with another status than that of its code.
    pub fn with_status(status: StatusCode, refusal: Refusal) -> Self {
        Self { status, ..refusal.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = (refusal.code == ErrorCode::Busy).then_some(Duration::from_secs(1));
        Self { status, refusal, retry_after }
    }
}

/// Too many requests: how long to wait.
impl From<Duration> for Failure {
    fn from(wait: Duration) -> Self {
        let refusal = Refusal::new(ErrorCode::RateLimited, "too many requests: wait as long as Retry-After says");
        Self { retry_after: Some(wait), ..refusal.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: ErrorView<'a>,
        }
        let body = Body { error: ErrorView::of(&self.refusal, None) };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds_rounded_up = u64::try_from(wait.as_millis().div_ceil(1_000).max(1)).unwrap_or(u64::MAX);
            response.headers_mut().insert(header::RETRY_AFTER, seconds_rounded_up.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
