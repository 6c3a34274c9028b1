//! Users: oneself, and others by name.

use axum::Json;
use schemas::names;
use schemas::pb;
use serde::Deserialize;

use crate::http::{Body, Caller, Failure, Params};
use crate::views::UserView;

/// Body of `PATCH /api/users/me`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    avatar_url: Option<String>,
}

/// Query of `GET /api/users`.
#[derive(Deserialize)]
pub struct ByName {
    username: String,
}

/// `GET /api/users/me`.
pub async fn me(caller: Caller) -> Result<Json<UserView>, Failure> {
    let user = caller.repo.get_user(pb::GetUserRequest { user_id: caller.user.0 }).await?;
    Ok(Json(UserView::own(user)))
}

/// `PATCH /api/users/me`.
pub async fn update(caller: Caller, Body(changes): Body<Changes>) -> Result<Json<UserView>, Failure> {
    let Changes { display_name, avatar_url } = changes;
    if let Some(name) = &display_name {
        names::name("displayName", name)?;
    }
    if let Some(url) = &avatar_url {
        names::check_avatar_url("avatarUrl", url)?;
    }
    let request = pb::UpdateUserRequest { user_id: caller.user.0, display_name, avatar_url, status: None };
    Ok(Json(UserView::own(caller.repo.update_user(request).await?)))
}

/// `GET /api/users?username=`.
pub async fn by_name(caller: Caller, Params(query): Params<ByName>) -> Result<Json<UserView>, Failure> {
    let request = pb::GetUserByUsernameRequest { username: query.username };
    let user = caller.repo.get_user_by_username(request).await?;
    Ok(Json(if user.user_id == caller.user.0 { UserView::own(user) } else { UserView::other(user) }))
}
