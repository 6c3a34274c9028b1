//! Registration, login, refresh, logout.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::decimal;
use schemas::names;
use schemas::pb;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::config::{GatewayConfig, Registrations};
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::{Anonymous, Body, Caller};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    username: String,
    password: String,
    email: Option<String>,
    display_name: Option<String>,
    invitation: Option<String>,
}

#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    refresh_token: String,
}

/// Answer of `register`, `login` and `refresh`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    #[serde(with = "decimal")]
    user_id: i64,
    username: String,
    access_token: String,
    refresh_token: String,
    expires_in: i64,
}

impl From<pb::SignedIn> for SignedIn {
    fn from(answer: pb::SignedIn) -> Self {
        let pb::SignedIn { user_id, username, access_token, refresh_token, expires_in } = answer;
        Self { user_id, username, access_token, refresh_token, expires_in }
    }
}

/// `POST /api/auth/register`.
pub async fn register(
    State(edge): State<Arc<Edge>>,
    anonymous: Anonymous,
    Body(body): Body<Registration>,
) -> Result<(StatusCode, Json<SignedIn>), Failure> {
    check_may_register(&edge.config, body.invitation.as_deref())?;
    edge.rates.registration_of(anonymous.address)?;
    names::check_username(&body.username)?;
    names::check_password(&body.password)?;
    let email = body.email.unwrap_or_default();
    if !email.is_empty() {
        names::check_email(&email)?;
    }
    let display_name = body.display_name.unwrap_or_default();
    if !display_name.is_empty() {
        names::name("displayName", &display_name)?;
    }
    let Registration { username, password, .. } = body;
    let client_address = anonymous.address.to_string();
    let request = pb::RegisterRequest { username, password, email, display_name, client_address };
    Ok((StatusCode::CREATED, Json(anonymous.repo.register(request).await?.into())))
}

/// Refuses who may make no account here.
fn check_may_register(config: &GatewayConfig, invitation: Option<&str>) -> Result<(), Refusal> {
    let denied = |message| Err(Refusal::new(ErrorCode::PermissionDenied, message));
    match (config.registration, invitation) {
        (Registrations::Open, _) => Ok(()),
        (Registrations::Closed, _) => denied("registration is closed on this server: ask its operator for an account"),
        // Compared by digest: the time that it takes tells nothing of a code.
        (Registrations::Invited, Some(given))
            if config.invitation_codes.iter().any(|code| Sha256::digest(code) == Sha256::digest(given)) =>
        {
            Ok(())
        }
        (Registrations::Invited, Some(_)) => denied("this invitation is not valid: ask for another"),
        (Registrations::Invited, None) => denied("an invitation is needed to register here"),
    }
}

/// `POST /api/auth/login`.
pub async fn login(
    State(edge): State<Arc<Edge>>,
    anonymous: Anonymous,
    Body(body): Body<Credentials>,
) -> Result<Json<SignedIn>, Failure> {
    // No user has another name, and the limit does not remember names of any length.
    names::check_username(&body.username).map_err(|_| wrong_credentials())?;
    let attempt = edge.rates.failed_logins.attempt(&body.username, anonymous.address, Instant::now())?;
    let Credentials { username, password } = body;
    let client_address = anonymous.address.to_string();
    let answer = anonymous.repo.login(pb::LoginRequest { username, password, client_address }).await;
    match &answer {
        Ok(_) => attempt.succeeded(),
        Err(refusal) if refusal.code == ErrorCode::Unauthenticated => {}
        Err(_) => attempt.forgive(),
    }
    Ok(Json(answer?.into()))
}

fn wrong_credentials() -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, "the username or the password is wrong")
}

/// `POST /api/auth/refresh`.
pub async fn refresh(anonymous: Anonymous, Body(body): Body<Refresh>) -> Result<Json<SignedIn>, Failure> {
    let request = pb::RefreshTokenRequest { refresh_token: body.refresh_token };
    Ok(Json(anonymous.repo.refresh_token(request).await?.into()))
}

/// `POST /api/auth/logout`: ends the sign-in of the access token, and its sockets on this gateway.
pub async fn logout(State(edge): State<Arc<Edge>>, caller: Caller) -> Result<StatusCode, Failure> {
    caller.repo.logout(pb::LogoutRequest { user_id: caller.user.0, session_id: caller.session_id }).await?;
    edge.sign_ins.ended(caller.user, caller.session_id).await;
    edge.sessions.log_out(caller.user, caller.session_id);
    Ok(StatusCode::NO_CONTENT)
}
