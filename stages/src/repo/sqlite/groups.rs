//! Making and changing groups: each change raises the version and leaves its event in the outbox, in
//! the same transaction.

use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::GroupEvent;
use sqlx::sqlite::SqliteConnection;

use super::{Fault, id_list, outbox};
use crate::repo::group_rules::{Situation, check_room, event_kind, judge, made_before, no_group, no_user};
use crate::repo::model::{Act, Group, GroupChange, NewGroup, Role, SMALL_GROUP_MEMBERS_MAX};

type GroupRow = (i64, String, String, i64, i32, i32, i64, bool, bool, i64);

fn group_of(row: GroupRow) -> Group {
    let (id, name, description, owner, member_count, max_members, version, large, dissolved, created_at) = row;
    Group {
        id: GroupId(id),
        name,
        description,
        owner_id: UserId(owner),
        member_count,
        max_members,
        version,
        large,
        dissolved,
        created_at,
    }
}

pub(super) async fn by_id(conn: &mut SqliteConnection, id: GroupId) -> Result<Option<Group>, Fault> {
    let row: Option<GroupRow> = sqlx::query_as(
        "SELECT group_id, name, description, owner_id, member_count, max_members, version, large, dissolved, \
         created_at FROM groups WHERE group_id = ?",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(group_of))
}

pub(super) async fn create(conn: &mut SqliteConnection, new: &NewGroup, act: &Act) -> Result<Group, Fault> {
    if let Some(group) = by_id(conn, new.id).await? {
        return Ok(made_before(group, act.actor)?);
    }
    let others: Vec<_> = new.member_ids.iter().copied().filter(|&user| user != act.actor).collect();
    let everybody: Vec<_> = std::iter::once(act.actor).chain(others.iter().copied()).collect();
    check_users(conn, &everybody).await?;
    check_room(everybody.len(), new.max_members)?;
    sqlx::query(
        "INSERT INTO groups (group_id, name, description, owner_id, member_count, max_members, version, large, \
         dissolved, created_at) VALUES (?, ?, ?, ?, 0, ?, 0, 0, 0, ?)",
    )
    .bind(new.id.0)
    .bind(&new.name)
    .bind(&new.description)
    .bind(act.actor.0)
    .bind(new.max_members)
    .bind(act.at)
    .execute(&mut *conn)
    .await?;
    let conversation = ConversationId::Group(new.id);
    sqlx::query(
        "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) \
         VALUES (?, 0, 0, 0, ?)",
    )
    .bind(conversation.to_string())
    .bind(act.at)
    .execute(&mut *conn)
    .await?;
    insert_members(conn, new.id, &[act.actor], Role::Owner, act.at).await?;
    insert_members(conn, new.id, &others, Role::Member, act.at).await?;
    let told = Told { kind: Kind::GroupCreated, user_ids: everybody, name: Some(new.name.clone()), role: None };
    finish(conn, new.id, told, act).await
}

pub(super) async fn change(
    conn: &mut SqliteConnection,
    id: GroupId,
    change: &GroupChange,
    act: &Act,
) -> Result<Group, Fault> {
    let group = by_id(conn, id).await?.ok_or_else(|| no_group(id))?;
    let target = match change {
        GroupChange::Remove { user_id } | GroupChange::SetRole { user_id, .. } => Some(*user_id),
        GroupChange::Rename { .. } | GroupChange::Add { .. } | GroupChange::Dissolve => None,
    };
    let actor_role = role_of(conn, id, act.actor).await?;
    let target_role = match target {
        Some(user) => role_of(conn, id, user).await?,
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
            rename(conn, id, name.as_deref(), description.as_deref()).await?;
            told.name.clone_from(name);
        }
        GroupChange::Add { user_ids } => {
            told.user_ids = add(conn, &group, user_ids, act.at).await?;
            if told.user_ids.is_empty() {
                return Ok(group);
            }
        }
        GroupChange::Remove { user_id } => {
            remove(conn, id, *user_id).await?;
            told.user_ids = vec![*user_id];
        }
        GroupChange::SetRole { user_id, role } => {
            if target_role == Some(*role) {
                return Ok(group);
            }
            set_role(conn, id, act.actor, *user_id, *role).await?;
            told.user_ids = vec![*user_id];
            told.role = Some(*role);
        }
        GroupChange::Dissolve => {
            sqlx::query("UPDATE groups SET dissolved = 1 WHERE group_id = ?").bind(id.0).execute(&mut *conn).await?;
        }
    }
    finish(conn, id, told, act).await
}

/// What the event of a change says.
struct Told {
    kind: Kind,
    user_ids: Vec<UserId>,
    name: Option<String>,
    role: Option<Role>,
}

/// Raises the version, counts the members again, and leaves the event in the outbox.
async fn finish(conn: &mut SqliteConnection, id: GroupId, told: Told, act: &Act) -> Result<Group, Fault> {
    sqlx::query(
        "UPDATE groups SET version = version + 1, member_count = counted.n, large = large OR counted.n > ?1 \
         FROM (SELECT count(*) AS n FROM group_members WHERE group_id = ?2) AS counted WHERE group_id = ?2",
    )
    .bind(SMALL_GROUP_MEMBERS_MAX)
    .bind(id.0)
    .execute(&mut *conn)
    .await?;
    let group = by_id(conn, id).await?.ok_or_else(|| no_group(id))?;
    let event = GroupEvent {
        group_id: id,
        version: group.version,
        actor_id: act.actor,
        user_ids: told.user_ids,
        name: told.name,
        role: told.role.map(|role| role.name().to_owned()),
    };
    outbox::add(conn, &told.kind, &event, act).await?;
    Ok(group)
}

async fn rename(
    conn: &mut SqliteConnection,
    id: GroupId,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE groups SET name = coalesce(?, name), description = coalesce(?, description) WHERE group_id = ?",
    )
    .bind(name)
    .bind(description)
    .bind(id.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds those who are not members yet, and says who they are.
async fn add(conn: &mut SqliteConnection, group: &Group, users: &[UserId], at: i64) -> Result<Vec<UserId>, Fault> {
    check_users(conn, users).await?;
    let present: Vec<(i64,)> = sqlx::query_as(
        "SELECT user_id FROM group_members WHERE group_id = ? AND user_id IN (SELECT value FROM json_each(?))",
    )
    .bind(group.id.0)
    .bind(id_list(users.iter().map(|user| &user.0)))
    .fetch_all(&mut *conn)
    .await?;
    let present: std::collections::HashSet<_> = present.into_iter().map(|(id,)| UserId(id)).collect();
    let new: Vec<_> = users.iter().copied().filter(|user| !present.contains(user)).collect();
    check_room(usize::try_from(group.member_count).unwrap_or_default() + new.len(), group.max_members)?;
    insert_members(conn, group.id, &new, Role::Member, at).await?;
    Ok(new)
}

/// Who joins reads from what comes next.
async fn insert_members(
    conn: &mut SqliteConnection,
    group: GroupId,
    users: &[UserId],
    role: Role,
    at: i64,
) -> Result<(), Fault> {
    let ids = id_list(users.iter().map(|user| &user.0));
    sqlx::query(
        "INSERT INTO group_members (group_id, user_id, role, joined_at) SELECT ?, value, ?, ? FROM json_each(?)",
    )
    .bind(group.0)
    .bind(role.name())
    .bind(at)
    .bind(&ids)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO user_conversations (user_id, conversation_id, joined_seq, own_seq) \
         SELECT value, c.conversation_id, c.last_seq + 1, 0 FROM json_each(?) JOIN conversations c \
         WHERE c.conversation_id = ? ON CONFLICT DO NOTHING",
    )
    .bind(&ids)
    .bind(ConversationId::Group(group).to_string())
    .execute(conn)
    .await?;
    Ok(())
}

async fn remove(conn: &mut SqliteConnection, group: GroupId, user: UserId) -> Result<(), Fault> {
    sqlx::query("DELETE FROM group_members WHERE group_id = ? AND user_id = ?")
        .bind(group.0)
        .bind(user.0)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM user_conversations WHERE user_id = ? AND conversation_id = ?")
        .bind(user.0)
        .bind(ConversationId::Group(group).to_string())
        .execute(conn)
        .await?;
    Ok(())
}

async fn set_role(
    conn: &mut SqliteConnection,
    group: GroupId,
    owner: UserId,
    user: UserId,
    role: Role,
) -> Result<(), Fault> {
    const SET: &str = "UPDATE group_members SET role = ? WHERE group_id = ? AND user_id = ?";
    match role {
        Role::Owner => {
            sqlx::query(SET).bind(Role::Admin.name()).bind(group.0).bind(owner.0).execute(&mut *conn).await?;
            sqlx::query("UPDATE groups SET owner_id = ? WHERE group_id = ?")
                .bind(user.0)
                .bind(group.0)
                .execute(&mut *conn)
                .await?;
        }
        Role::Admin | Role::Member => {}
    }
    sqlx::query(SET).bind(role.name()).bind(group.0).bind(user.0).execute(conn).await?;
    Ok(())
}

async fn role_of(conn: &mut SqliteConnection, group: GroupId, user: UserId) -> Result<Option<Role>, Fault> {
    let row: Option<(String,)> = sqlx::query_as("SELECT role FROM group_members WHERE group_id = ? AND user_id = ?")
        .bind(group.0)
        .bind(user.0)
        .fetch_optional(conn)
        .await?;
    row.map(|(role,)| Role::named(&role).ok_or(Fault::Unreadable(format!("role {role:?}")))).transpose()
}

/// Refuses a list with somebody who is not there.
async fn check_users(conn: &mut SqliteConnection, users: &[UserId]) -> Result<(), Fault> {
    let missing: Option<(i64,)> =
        sqlx::query_as("SELECT value FROM json_each(?) WHERE value NOT IN (SELECT user_id FROM users) LIMIT 1")
            .bind(id_list(users.iter().map(|user| &user.0)))
            .fetch_optional(conn)
            .await?;
    match missing {
        Some((id,)) => Err(no_user(UserId(id)).into()),
        None => Ok(()),
    }
}
