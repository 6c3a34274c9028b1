//! Groups and their members. The repo decides who may do what, in the transaction of the change.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemas::error::Refusal;
use schemas::ids::{GroupId, UserId, decimal};
use schemas::names;
use schemas::pb;
use serde::{Deserialize, Serialize};

use crate::edge::Edge;
use crate::failure::Failure;
use crate::request::{Body, Caller, PathParams, QueryParams};
use crate::rest::params::{id, limit, next_cursor};
use crate::views::{GroupView, MemberView};

const PAGE_DEFAULT: i32 = 100;
const PAGE_MAX: i32 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewGroup {
    name: String,
    description: Option<String>,
    #[serde(default, with = "decimal::list")]
    member_ids: Vec<UserId>,
}

#[derive(Deserialize)]
pub struct Changes {
    name: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMembers {
    #[serde(with = "decimal::list")]
    user_ids: Vec<UserId>,
}

#[derive(Deserialize)]
pub struct NewRole {
    role: String,
}

#[derive(Deserialize)]
pub struct Page {
    #[serde(default)]
    cursor: String,
    limit: Option<i64>,
    #[serde(default)]
    online: bool,
}

/// `POST /api/groups`.
pub async fn create(caller: Caller, Body(group): Body<NewGroup>) -> Result<(StatusCode, Json<GroupView>), Failure> {
    let description = group.description.unwrap_or_default();
    check(Some(&group.name), Some(&description))?;
    let request = pb::CreateGroupRequest {
        owner_id: caller.user.0,
        name: group.name,
        description,
        member_ids: group.member_ids.iter().map(|user| user.0).collect(),
    };
    Ok((StatusCode::CREATED, Json(caller.repo.create_group(request).await?.into())))
}

/// `GET /api/groups/{id}`.
pub async fn get(caller: Caller, PathParams(group): PathParams<String>) -> Result<Json<GroupView>, Failure> {
    let request = pb::GetGroupRequest { group_id: group_id(&group)?, reader_id: Some(caller.user.0) };
    Ok(Json(caller.repo.get_group(request).await?.into()))
}

/// `PATCH /api/groups/{id}`.
pub async fn update(
    caller: Caller,
    PathParams(group): PathParams<String>,
    Body(Changes { name, description }): Body<Changes>,
) -> Result<Json<GroupView>, Failure> {
    check(name.as_deref(), description.as_deref())?;
    let request = pb::UpdateGroupRequest { group_id: group_id(&group)?, actor_id: caller.user.0, name, description };
    Ok(Json(caller.repo.update_group(request).await?.into()))
}

/// `DELETE /api/groups/{id}`.
pub async fn dissolve(caller: Caller, PathParams(group): PathParams<String>) -> Result<StatusCode, Failure> {
    let request = pb::DissolveGroupRequest { group_id: group_id(&group)?, actor_id: caller.user.0 };
    caller.repo.dissolve_group(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/groups/{id}/members`.
pub async fn members(
    caller: Caller,
    State(edge): State<Arc<Edge>>,
    PathParams(group): PathParams<String>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Response, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Members {
        members: Vec<MemberView>,
        next_cursor: Option<String>,
    }
    let request = pb::GetGroupMembersRequest {
        group_id: group_id(&group)?,
        cursor: page.cursor,
        limit: limit(page.limit, PAGE_DEFAULT, PAGE_MAX)?,
        reader_id: Some(caller.user.0),
    };
    let mut answer = match page.online {
        true => caller.repo.get_online_group_members(request).await?,
        false => caller.repo.get_group_members(request).await?,
    };
    for member in &mut answer.members {
        // Presence reaches the repo a little later than this gateway.
        member.online |= edge.sessions.is_online(UserId(member.user_id));
    }
    let members = answer.members.into_iter().map(MemberView::from).collect();
    Ok(Json(Members { members, next_cursor: next_cursor(answer.next_cursor) }).into_response())
}

/// `POST /api/groups/{id}/members`.
pub async fn add_members(
    caller: Caller,
    PathParams(group): PathParams<String>,
    Body(NewMembers { user_ids }): Body<NewMembers>,
) -> Result<StatusCode, Failure> {
    if user_ids.is_empty() {
        return Err(Refusal::invalid("userIds is empty").into());
    }
    let user_ids = user_ids.iter().map(|user| user.0).collect();
    let request = pb::AddGroupMemberRequest { group_id: group_id(&group)?, actor_id: caller.user.0, user_ids };
    caller.repo.add_group_member(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/groups/{id}/members/{userId}`.
pub async fn remove_member(
    caller: Caller,
    PathParams((group, user)): PathParams<(String, String)>,
) -> Result<StatusCode, Failure> {
    let user_id = id::<UserId>("the user's id", &user)?.0;
    let request = pb::RemoveGroupMemberRequest { group_id: group_id(&group)?, actor_id: caller.user.0, user_id };
    caller.repo.remove_group_member(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PATCH /api/groups/{id}/members/{userId}`.
pub async fn set_role(
    caller: Caller,
    PathParams((group, user)): PathParams<(String, String)>,
    Body(NewRole { role }): Body<NewRole>,
) -> Result<StatusCode, Failure> {
    if !matches!(role.as_str(), "owner" | "admin" | "member") {
        return Err(Refusal::invalid("role is owner, admin or member").into());
    }
    let user_id = id::<UserId>("the user's id", &user)?.0;
    let request = pb::SetGroupMemberRoleRequest { group_id: group_id(&group)?, actor_id: caller.user.0, user_id, role };
    caller.repo.set_group_member_role(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn group_id(text: &str) -> Result<i64, Refusal> {
    Ok(id::<GroupId>("the group's id", text)?.0)
}

fn check(name: Option<&str>, description: Option<&str>) -> Result<(), Refusal> {
    if let Some(name) = name {
        names::name("name", name)?;
    }
    if let Some(description) = description {
        names::description(description)?;
    }
    Ok(())
}
