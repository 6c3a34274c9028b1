//! The caller's own account: its password, and where it is signed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemas::error::ErrorCode;
use schemas::names;
use schemas::pb;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::{Address, Body, Caller, PathParams};
use crate::rest::params::id;
use crate::views::SignInView;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPassword {
    password: String,
    new_password: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInList {
    sign_ins: Vec<SignInView>,
}

/// `POST /api/users/me/password`: ends the other sign-ins, and their sockets on this gateway.
pub async fn change_password(
    State(edge): State<Arc<Edge>>,
    Address(address): Address,
    caller: Caller,
    Body(body): Body<NewPassword>,
) -> Result<StatusCode, Failure> {
    names::check_password(&body.new_password)?;
    // Whoever has stolen a token guesses no faster here. No username has a colon.
    let guesser = format!("user:{}", caller.user);
    let attempt = edge.rates.failed_logins.attempt(&guesser, address, Instant::now())?;
    let request = pb::ChangePasswordRequest {
        user_id: caller.user.0,
        session_id: caller.session_id,
        password: body.password,
        new_password: body.new_password,
        client_address: address.to_string(),
    };
    let answer = caller.repo.change_password(request).await;
    match &answer {
        Err(refusal) if refusal.code == ErrorCode::PermissionDenied => {}
        Ok(_) | Err(_) => attempt.forgive(),
    }
    answer?;
    edge.sessions.for_user(caller.user, |socket| {
        if socket.identity.session_id != caller.session_id {
            socket.close(CloseReason::LoggedOut);
        }
    });
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/users/me/sign-ins`.
pub async fn sign_ins(caller: Caller) -> Result<Json<SignInList>, Failure> {
    let answer = caller.repo.get_sign_ins(pb::GetSignInsRequest { user_id: caller.user.0 }).await?;
    let view = |sign_in: &pb::OpenSignIn| SignInView::of(sign_in, caller.session_id);
    Ok(Json(SignInList { sign_ins: answer.sign_ins.iter().map(view).collect() }))
}

/// `DELETE /api/users/me/sign-ins/{sessionId}`.
pub async fn end_sign_in(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    PathParams(session): PathParams<String>,
) -> Result<StatusCode, Failure> {
    let session_id = id("sessionId", &session)?;
    caller.repo.logout(pb::LogoutRequest { user_id: caller.user.0, session_id }).await?;
    edge.sign_ins.ended(caller.user, session_id).await;
    edge.sessions.log_out(caller.user, session_id);
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/users/me/sign-ins`: the caller's own among them.
pub async fn end_all_sign_ins(State(edge): State<Arc<Edge>>, caller: Caller) -> Result<StatusCode, Failure> {
    caller.repo.logout_everywhere(pb::LogoutEverywhereRequest { user_id: caller.user.0 }).await?;
    edge.sign_ins.ended(caller.user, caller.session_id).await;
    edge.sessions.for_user(caller.user, |socket| socket.close(CloseReason::LoggedOut));
    Ok(StatusCode::NO_CONTENT)
}
