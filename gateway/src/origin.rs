//! Which sites' pages may use the gateway: its own, and `allowed_origins`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use schemas::error::{ErrorCode, Refusal};
use topics::headers::TRACE_HEADER;
use tower_http::cors::CorsLayer;

use crate::edge::Edge;
use crate::failure::Failure;

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_AGE_S: u64 = 600;

/// Refuses writes by pages of other sites. A browser sends some without asking (a form, `text/plain`), and only keeps the
/// answer from the page.
pub async fn check_writes(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Result<Response, Failure> {
    if !request.method().is_safe() {
        check(request.headers(), &edge.config.allowed_origins)?;
    }
    Ok(next.run(request).await)
}

/// Refuses pages of other sites. Who sends no `Origin` is no page.
pub fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refusal> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let parsed = origin.parse::<Uri>().ok();
    let of_origin = parsed.as_ref().and_then(Uri::authority).map(axum::http::uri::Authority::as_str);
    if (of_origin.is_some() && of_origin == host) || allowed.iter().any(|one| one == origin) {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PermissionDenied,
        "pages of this origin may not write or connect here: gateway.limits.allowed_origins names those that may",
    ))
}

/// Lets pages of the allowed origins read the answers, and ask before they write.
pub fn cors(allowed: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = allowed.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static(TRACE_HEADER)])
        .expose_headers([header::RETRY_AFTER])
        .max_age(std::time::Duration::from_secs(PREFLIGHT_AGE_S))
}
