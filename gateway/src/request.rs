//! What handlers take from a request: who calls, from where, and what they say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use topics::headers::TRACE_HEADER;

use crate::edge::{Edge, trace_from};
use crate::failure::Failure;
use crate::repo::{Repo, internal};
use crate::{address, json, oversize};

/// A user with a valid token and sign-in, who is within the rate limit.
#[derive(Debug)]
pub struct Caller {
    pub user: UserId,
    pub session_id: i64,
    /// Its calls belong to the request's trace.
    pub repo: Repo,
}

impl FromRequestParts<Arc<Edge>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let token = bearer(&parts.headers)
            .ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "Authorization: Bearer … is missing"))?;
        let claims = edge.verify(token)?;
        edge.rates.requests_of_users.take(&claims.user_id, Instant::now())?;
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

/// A caller without a token, within the rate limit of sign-ins.
#[derive(Debug)]
pub struct Anonymous {
    pub repo: Repo,
    pub address: IpAddr,
}

impl FromRequestParts<Arc<Edge>> for Anonymous {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let Address(address) = Address::from_request_parts(parts, edge).await?;
        edge.rates.sign_in_of(address)?;
        Ok(Self { repo: traced(edge, &parts.headers), address })
    }
}

/// The address that limits count a request to.
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

/// Refuses a body that does not say it is JSON: a page of another site can send such a one without asking.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    let refusal =
        Refusal::invalid("the body does not say that it is JSON: send it with Content-Type: application/json");
    Err(Failure::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal))
}

/// The parameters of a URL's query; a bad one is refused by its name.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Edge>> for QueryParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Edge>) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Refusal::invalid(format!("the query is not what this call takes: {error}")).into()),
        }
    }
}

/// The variable parts of the path.
#[derive(Debug)]
pub struct PathParams<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Edge>> for PathParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, edge).await {
            Ok(Path(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(Refusal::invalid("the address is not UTF-8").into()),
        }
    }
}
