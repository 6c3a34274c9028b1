//! The HTTP routes, and what every request passes: limits and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{delete, get, patch, post};
use schemas::error::Refusal;
use tokio::time::Instant;

use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::Address;
use crate::rest::{account, auth, conversations, groups, users};
use crate::{origin, oversize, socket, web};

pub fn router(edge: Arc<Edge>) -> Router {
    let api = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/logout", post(auth::logout))
        .route("/users/me", get(users::me).patch(users::update))
        .route("/users/me/password", post(account::change_password))
        .route("/users/me/sign-ins", get(account::sign_ins).delete(account::end_all_sign_ins))
        .route("/users/me/sign-ins/{id}", delete(account::end_sign_in))
        .route("/users", get(users::by_name))
        .route("/users/by-id", get(users::by_ids))
        .route("/conversations", get(conversations::list))
        .route("/conversations/{id}/messages", get(conversations::messages))
        .route("/conversations/{id}/read", get(conversations::read_marks).post(conversations::mark_read))
        .route("/messages/{id}", get(conversations::message))
        .route("/groups", post(groups::create))
        .route("/groups/{id}", get(groups::get).patch(groups::update).delete(groups::dissolve))
        .route("/groups/{id}/members", get(groups::members).post(groups::add_members))
        .route("/groups/{id}/members/{user}", patch(groups::set_role).delete(groups::remove_member))
        .layer(from_fn_with_state(edge.clone(), origin::check_writes))
        .layer(map_response(not_stored));
    let routes = Router::new()
        .nest("/api", api)
        .route("/ws", get(socket::upgrade))
        .merge(edge.operations.clone().health())
        .route("/", get(web::index))
        .route("/assets/{*file}", get(web::asset))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(edge.config.body_bytes_max))
        .layer(from_fn_with_state(edge.clone(), oversize::refuse))
        .layer(from_fn_with_state(edge.clone(), limit_address));
    let allowed = &edge.config.allowed_origins;
    let routes = if allowed.is_empty() { routes } else { routes.layer(origin::cors(allowed)) };
    routes.layer(from_fn(observe)).with_state(edge)
}

/// What `/api` answers is one user's alone, tokens above all.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn limit_address(
    State(edge): State<Arc<Edge>>,
    Address(address): Address,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    edge.rates.request_of(address)?;
    Ok(next.run(request).await)
}

async fn no_such_route() -> Failure {
    Failure::with_status(StatusCode::NOT_FOUND, Refusal::invalid("there is nothing at this address"))
}

/// The router adds `Allow`.
async fn no_such_method() -> Failure {
    let refusal = Refusal::invalid("this address does not take this method");
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, refusal)
}

/// Counts and times requests by route template, never by path.
async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none".into(), |path| path.as_str().to_owned());
    let start = Instant::now();
    let mut response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("gochat_http_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("gochat_http_request_seconds", "route" => route).record(start.elapsed().as_secs_f64());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
