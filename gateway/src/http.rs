//! The HTTP side: routes, what handlers are given, how failures look, and metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{
    ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Path, Query, Request, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use topics::headers::TRACE_HEADER;

use crate::address;
use crate::edge::{Edge, trace_from};
use crate::repo::{Repo, internal};
use crate::rest::{auth, conversations, groups, users};
use crate::views::ErrorView;
use crate::{json, oversize, socket, web};

pub fn router(edge: Arc<Edge>) -> Router {
    let api = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/logout", post(auth::logout))
        .route("/users/me", get(users::me).patch(users::update))
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
        .layer(from_fn_with_state(edge.clone(), limit_address));
    Router::new()
        .nest("/api", api)
        .route("/ws", get(socket::upgrade))
        .merge(edge.operations.clone().routes())
        .route("/", get(web::index))
        .route("/assets/{*file}", get(web::asset))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(edge.config.body_bytes_max))
        .layer(from_fn_with_state(edge.clone(), oversize::refuse))
        .layer(from_fn(observe))
        .with_state(edge)
}

/// Why a request fails: a refusal, with the wait where there is one.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    refusal: Refusal,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A refusal with a status of HTTP's own, in place of the one of its code.
    pub fn with_status(status: StatusCode, refusal: Refusal) -> Self {
        Self { status, ..refusal.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, refusal, retry_after: None }
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
        let wait = match self.refusal.code {
            ErrorCode::Busy => Some(Duration::from_secs(1)),
            _ => self.retry_after,
        };
        if let Some(wait) = wait {
            // Whole seconds, rounded up.
            let seconds = wait.as_millis().div_ceil(1_000).max(1).to_string();
            let value = HeaderValue::from_str(&seconds).expect("digits are a header value");
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Who calls, proven by their token, whose sign-in goes on, within their rate.
#[derive(Debug)]
pub struct Caller {
    pub user: UserId,
    /// By which sign-in.
    pub session_id: i64,
    /// The repo, with calls that belong to the request's trace.
    pub repo: Repo,
}

impl FromRequestParts<Arc<Edge>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let token = bearer(&parts.headers)
            .ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "Authorization: Bearer … is missing"))?;
        let claims = edge.verify(token)?;
        edge.rates.request_of_user(claims.user_id)?;
        let repo = traced(edge, &parts.headers);
        edge.sign_ins.check(&repo, &claims).await?;
        Ok(Self { user: claims.user_id, session_id: claims.session_id, repo })
    }
}

/// The token of the one `Authorization` header, if its scheme is Bearer, in letters of any case (RFC 9110, sections
/// 11.1 and 11.4).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (given.next()?, given.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start_matches(' '))
}

/// A caller without a token, who wants one.
#[derive(Debug)]
pub struct Stranger {
    /// As for [`Caller`].
    pub repo: Repo,
    /// Whom to count it to.
    pub address: IpAddr,
}

impl FromRequestParts<Arc<Edge>> for Stranger {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let Address(address) = Address::from_request_parts(parts, edge).await?;
        edge.rates.sign_in_of_address(address)?;
        Ok(Self { repo: traced(edge, &parts.headers), address })
    }
}

/// The address that a request is counted to.
#[derive(Debug)]
pub struct Address(pub IpAddr);

impl FromRequestParts<Arc<Edge>> for Address {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let ConnectInfo(peer) = *parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or_else(internal)?;
        Ok(Self(address::counted(peer.ip(), &parts.headers, &edge.config.trusted_proxies)))
    }
}

fn traced(edge: &Edge, headers: &HeaderMap) -> Repo {
    let given = headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    edge.repo.traced(trace_from(given))
}

/// A body of JSON.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Edge>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, edge: &Arc<Edge>) -> Result<Self, Failure> {
        check_content_type(request.headers())?;
        let bytes = axum::body::Bytes::from_request(request, edge).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => oversize::too_large(edge.config.body_bytes_max),
                _ => Refusal::invalid("the body could not be read").into(),
            }
        })?;
        let parsed = json::from_slice(&bytes);
        parsed
            .map(Self)
            .map_err(|error| Refusal::invalid(format!("the body is not what this call takes: {error}")).into())
    }
}

/// A body that says nothing of its type is taken for JSON; one that says it is something else is refused.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    let refusal = Refusal::invalid("the body is not JSON: send it as Content-Type: application/json");
    Err(Failure::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal))
}

/// The parameters of a query.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Edge>> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Edge>) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Refusal::invalid(format!("the query is not what this call takes: {error}")).into()),
        }
    }
}

/// The variable parts of an address.
#[derive(Debug)]
pub struct At<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Edge>> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, edge).await {
            Ok(Path(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(Refusal::invalid("the address is not UTF-8").into()),
        }
    }
}

async fn limit_address(
    State(edge): State<Arc<Edge>>,
    Address(address): Address,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    edge.rates.request_of_address(address)?;
    Ok(next.run(request).await)
}

async fn no_such_route() -> Failure {
    Failure::with_status(StatusCode::NOT_FOUND, Refusal::invalid("there is nothing at this address"))
}

/// The router adds which methods it takes, in `Allow`.
async fn no_such_method() -> Failure {
    let refusal = Refusal::invalid("this address does not take this method");
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, refusal)
}

/// Counts and times requests by route template, never by address.
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
