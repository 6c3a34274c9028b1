//! `/health` and `/metrics`, the same in every process, with a gateway or without.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

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
    /// `GET /health/live`, `GET /health/ready` (503 when a component has failed) and `GET /metrics`.
    pub fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Self { render_metrics, health } = self;
        let ready = move || {
            let Readiness { ready, lines } = health();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            std::future::ready(shown(status, lines))
        };
        let metrics = move || {
            let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            std::future::ready((text, render_metrics()).into_response())
        };
        Router::new()
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .route("/metrics", get(metrics))
    }

    /// Serves these routes only, until the listener fails.
    ///
    /// # Errors
    /// When connections can't be accepted any more.
    pub async fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        axum::serve(listener, self.routes::<()>()).await?;
        Err(io::Error::other("the listener ended"))
    }
}

async fn live() -> Response {
    shown(StatusCode::OK, "{\"component\":\"process\",\"ready\":true}\n".to_owned())
}

fn shown(status: StatusCode, lines: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, lines).into_response()
}
