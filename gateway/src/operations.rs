//! `/health`, the same in every process, with a gateway or without, and `/metrics` beside it on a listener of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use listener::{Limits, Listener};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http;

/// The Prometheus text of all metrics.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;
/// The last known health of the process; makes no calls.
pub type HealthOfComponents = Arc<dyn Fn() -> Readiness + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// A line of JSON for each component.
    pub lines: String,
}

#[derive(Clone)]
pub struct Operations {
    pub render_metrics: RenderMetrics,
    pub health: HealthOfComponents,
}

impl Operations {
    /// `GET /health/live` and `GET /health/ready` (503 when a component has failed).
    pub fn health<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let ready = move || {
            let Readiness { ready, lines } = (self.health)();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            std::future::ready(shown(status, lines))
        };
        Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
    }

    /// Serves them and `GET /metrics`, until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let listener = Listener::new(listener, "metrics", limits());
        let render = self.render_metrics.clone();
        let metrics = move || {
            let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            std::future::ready((text, render()).into_response())
        };
        let routes = self.health().route("/metrics", get(metrics));
        http::serve(listener, routes, |_| Duration::ZERO, stop, TaskTracker::new()).await;
    }
}

/// Few ask for metrics and health, and each of them keeps its connection.
fn limits() -> Limits {
    Limits {
        connections_max: 32,
        connections_an_address_max: 16,
        request_time: Duration::from_secs(30),
        idle_time: Duration::from_secs(300),
        proxies: Vec::new(),
    }
}

async fn live() -> Response {
    shown(StatusCode::OK, "{\"component\":\"process\",\"ready\":true}\n".to_owned())
}

fn shown(status: StatusCode, lines: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, lines).into_response()
}
