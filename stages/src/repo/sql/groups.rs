//! Making and changing groups: each change raises the version and leaves its event in the outbox, in
//! the same transaction.

use std::collections::HashSet;

use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::GroupEvent;

use super::Fault;
use super::tables::Tables;
use crate::repo::group_rules::{Situation, check_room, event_kind, judge, made_before, no_conversation, no_user};
use crate::repo::model::{Act, Group, GroupChange, NewGroup, Role, SMALL_GROUP_MEMBERS_MAX};

pub(super) async fn create(tables: &mut dyn Tables, new: &NewGroup, act: &Act) -> Result<Group, Fault> {
    if let Some(group) = tables.group(new.id).await? {
        return Ok(made_before(group, act.actor)?);
    }
    let others: Vec<_> = new.member_ids.iter().copied().filter(|&user| user != act.actor).collect();
    let everybody: Vec<_> = std::iter::once(act.actor).chain(others.iter().copied()).collect();
    check_users(tables, &everybody).await?;
    check_room(everybody.len(), new.max_members)?;
    if !tables.insert_group(new, act).await? {
        // The same call at the same time has come first.
        let group = tables.group(new.id).await?.ok_or_else(no_conversation)?;
        return Ok(made_before(group, act.actor)?);
    }
    tables.insert_members(new.id, &[act.actor], Role::Owner, act.at).await?;
    tables.insert_members(new.id, &others, Role::Member, act.at).await?;
    let told = Told { kind: Kind::GroupCreated, user_ids: everybody, name: Some(new.name.clone()), role: None };
    finish(tables, new.id, told, act).await
}

pub(super) async fn change(
    tables: &mut dyn Tables,
    id: GroupId,
    change: &GroupChange,
    act: &Act,
) -> Result<Group, Fault> {
    let group = tables.lock_group(id).await?.ok_or_else(no_conversation)?;
    let target = match change {
        GroupChange::Remove { user_id } | GroupChange::SetRole { user_id, .. } => Some(*user_id),
        GroupChange::Rename { .. } | GroupChange::Add { .. } | GroupChange::Dissolve => None,
    };
    let actor_role = tables.role_of(id, act.actor).await?;
    let target_role = match target {
        Some(user) => tables.role_of(id, user).await?,
        None => None,
    };
    judge(change, Situation { group: &group, actor: act.actor, actor_role, target_role })?;
    let mut told = Told { kind: event_kind(change, act.actor), user_ids: Vec::new(), name: None, role: None };
    match change {
        GroupChange::Rename { name, description } => {
            let same_name = name.as_ref().is_none_or(|name| *name == group.name);
            if same_name && description.as_ref().is_none_or(|text| *text == group.description) {
                return Ok(group);
            }
            tables.rename_group(id, name.as_deref(), description.as_deref()).await?;
            told.name.clone_from(name);
        }
        GroupChange::Add { user_ids } => {
            told.user_ids = add(tables, &group, user_ids, act.at).await?;
            if told.user_ids.is_empty() {
                return Ok(group);
            }
        }
        GroupChange::Remove { user_id } => {
            tables.lock_conversation(ConversationId::Group(id)).await?;
            tables.delete_member(id, *user_id).await?;
            told.user_ids = vec![*user_id];
        }
        GroupChange::SetRole { user_id, role } => {
            if target_role == Some(*role) {
                return Ok(group);
            }
            match role {
                Role::Owner => {
                    tables.set_role(id, act.actor, Role::Admin).await?;
                    tables.set_owner(id, *user_id).await?;
                }
                Role::Admin | Role::Member => {}
            }
            tables.set_role(id, *user_id, *role).await?;
            told.user_ids = vec![*user_id];
            told.role = Some(*role);
        }
        GroupChange::Dissolve => tables.dissolve_group(id).await?,
    }
    finish(tables, id, told, act).await
}

/// What the event of a change says.
struct Told {
    kind: Kind,
    user_ids: Vec<UserId>,
    name: Option<String>,
    role: Option<Role>,
}

/// Raises the version, counts the members again, and leaves the event in the outbox.
async fn finish(tables: &mut dyn Tables, id: GroupId, told: Told, act: &Act) -> Result<Group, Fault> {
    tables.raise_version(id, SMALL_GROUP_MEMBERS_MAX).await?;
    let group = tables.group(id).await?.ok_or_else(no_conversation)?;
    let event = GroupEvent {
        group_id: id,
        version: group.version,
        actor_id: act.actor,
        user_ids: told.user_ids,
        name: told.name,
        role: told.role.map(|role| role.name().to_owned()),
    };
    let content = serde_json::to_string(&event).map_err(|e| sqlx::Error::Encode(e.into()))?;
    tables.insert_event(ConversationId::Group(id), told.kind.name(), &content, act).await?;
    Ok(group)
}

/// Adds those who are not members yet, and says who they are.
async fn add(tables: &mut dyn Tables, group: &Group, users: &[UserId], at: i64) -> Result<Vec<UserId>, Fault> {
    check_users(tables, users).await?;
    let present: HashSet<_> = tables.members_of_these(group.id, users).await?.into_iter().collect();
    let new: Vec<_> = users.iter().copied().filter(|user| !present.contains(user)).collect();
    check_room(usize::try_from(group.member_count).unwrap_or_default() + new.len(), group.max_members)?;
    tables.lock_conversation(ConversationId::Group(group.id)).await?;
    tables.insert_members(group.id, &new, Role::Member, at).await?;
    Ok(new)
}

/// Refuses a list with somebody who is not there.
async fn check_users(tables: &mut dyn Tables, users: &[UserId]) -> Result<(), Fault> {
    match tables.missing_user(users).await? {
        Some(id) => Err(no_user(id).into()),
        None => Ok(()),
    }
}
