//! Whether the gateway lives and is ready, and its metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::edge::Edge;

#[derive(Serialize)]
struct Line<'a> {
    component: &'a str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// `GET /health/live`: this process answers.
pub async fn live() -> Response {
    lines(StatusCode::OK, &[Line { component: "gateway", ready: true, reason: None }])
}

/// `GET /health/ready`: a line of JSON for each component; 503 when one of them is not ready.
pub async fn ready(State(edge): State<Arc<Edge>>) -> Response {
    let own = if edge.closing.is_cancelled() { Err("stopping".to_owned()) } else { Ok(()) };
    let components: Vec<_> = std::iter::once(("gateway".to_owned(), own)).chain((edge.health)()).collect();
    let rows: Vec<_> = components
        .iter()
        .map(|(component, state)| Line {
            component,
            ready: state.is_ok(),
            reason: state.as_ref().err().map(String::as_str),
        })
        .collect();
    let all = rows.iter().all(|row| row.ready);
    lines(if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &rows)
}

/// `GET /metrics`.
pub async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (edge.render_metrics)()).into_response()
}

fn lines(status: StatusCode, rows: &[Line<'_>]) -> Response {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row).expect("a line has string keys and plain values"));
        text.push('\n');
    }
    (status, [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], text)
        .into_response()
}
