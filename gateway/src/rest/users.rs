//! Users: the caller, and others by name or ids.

use axum::Json;
use schemas::error::Refusal;
use schemas::ids::UserId;
use schemas::names;
use schemas::pb;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::request::{Body, Caller, QueryParams};
use crate::rest::params::id;
use crate::views::UserView;

/// Users that one call may name.
const USERS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    display_name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
pub struct ByName {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByIds {
    user_ids: String,
}

#[derive(Serialize)]
pub struct Found {
    users: Vec<UserView>,
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
pub async fn by_name(caller: Caller, QueryParams(query): QueryParams<ByName>) -> Result<Json<UserView>, Failure> {
    let request = pb::GetUserByUsernameRequest { username: query.username };
    let user = caller.repo.get_user_by_username(request).await?;
    Ok(Json(if user.user_id == caller.user.0 { UserView::own(user) } else { UserView::other(user) }))
}

/// `GET /api/users/by-id?userIds=`: those that exist, in the order asked for.
pub async fn by_ids(caller: Caller, QueryParams(query): QueryParams<ByIds>) -> Result<Json<Found>, Failure> {
    let ids: Vec<UserId> = query.user_ids.split(',').map(|text| id("userIds", text)).collect::<Result<_, _>>()?;
    if ids.len() > USERS_MAX {
        return Err(Refusal::invalid(format!("userIds has 1 to {USERS_MAX} ids, parted by commas")).into());
    }
    let request = pb::GetUsersRequest { user_ids: ids.iter().map(|id| id.0).collect() };
    let users = caller.repo.get_users(request).await?.users.into_iter().map(UserView::other).collect();
    Ok(Json(Found { users }))
}
