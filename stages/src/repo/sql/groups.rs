//! Making and changing groups: each change raises the version and leaves its event in the outbox, in
//! the same transaction.

use std::collections::HashSet;

use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::GroupEvent;

use super::fault::Fault;
use super::rows::{GroupRow, group_of};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::group_rules::{Situation, check_room, event_kind, judge, made_before, no_conversation, no_user};
use crate::repo::model::{Act, Group, GroupChange, NewGroup, Role, SMALL_GROUP_MEMBERS_MAX};

macro_rules! select_groups {
    ($rest:literal) => {
        concat!(
            "SELECT group_id, name, description, owner_id, member_count, max_members, version, large, dissolved, \
             created_at FROM groups ",
            $rest
        )
    };
}

/// What the event of a change says.
struct Told {
    kind: Kind,
    user_ids: Vec<UserId>,
    name: Option<String>,
    role: Option<Role>,
}

impl Session<'_> {
    pub(super) async fn create_group(&mut self, new: &NewGroup, act: &Act) -> Result<Group, Fault> {
        if let Some(group) = self.group(new.id).await? {
            return Ok(made_before(group, act.actor)?);
        }
        let others: Vec<_> = new.member_ids.iter().copied().filter(|&user| user != act.actor).collect();
        let everybody: Vec<_> = std::iter::once(act.actor).chain(others.iter().copied()).collect();
        self.check_users(&everybody).await?;
        check_room(everybody.len(), new.max_members)?;
        if !self.insert_group(new, act).await? {
            // The same call at the same time has come first.
            let group = self.group(new.id).await?.ok_or_else(no_conversation)?;
            return Ok(made_before(group, act.actor)?);
        }
        self.insert_members(new.id, &[act.actor], Role::Owner, act.at).await?;
        self.insert_members(new.id, &others, Role::Member, act.at).await?;
        let told = Told { kind: Kind::GroupCreated, user_ids: everybody, name: Some(new.name.clone()), role: None };
        self.finish(new.id, told, act).await
    }

    pub(super) async fn change_group(&mut self, id: GroupId, change: &GroupChange, act: &Act) -> Result<Group, Fault> {
        let group = self.lock_group(id).await?.ok_or_else(no_conversation)?;
        let target = match change {
            GroupChange::Remove { user_id } | GroupChange::SetRole { user_id, .. } => Some(*user_id),
            GroupChange::Rename { .. } | GroupChange::Add { .. } | GroupChange::Dissolve => None,
        };
        let actor_role = self.role_of(id, act.actor).await?;
        let target_role = match target {
            Some(user) => self.role_of(id, user).await?,
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
                self.rename_group(id, name.as_deref(), description.as_deref()).await?;
                told.name.clone_from(name);
            }
            GroupChange::Add { user_ids } => {
                told.user_ids = self.add_members(&group, user_ids, act.at).await?;
                if told.user_ids.is_empty() {
                    return Ok(group);
                }
            }
            GroupChange::Remove { user_id } => {
                self.lock_conversation(ConversationId::Group(id)).await?;
                self.delete_member(id, *user_id).await?;
                told.user_ids = vec![*user_id];
            }
            GroupChange::SetRole { user_id, role } => {
                if target_role == Some(*role) {
                    return Ok(group);
                }
                match role {
                    Role::Owner => {
                        self.set_role(id, act.actor, Role::Admin).await?;
                        self.set_owner(id, *user_id).await?;
                    }
                    Role::Admin | Role::Member => {}
                }
                self.set_role(id, *user_id, *role).await?;
                told.user_ids = vec![*user_id];
                told.role = Some(*role);
            }
            GroupChange::Dissolve => self.dissolve_group(id).await?,
        }
        self.finish(id, told, act).await
    }

    /// Raises the version, counts the members again, and leaves the event in the outbox.
    async fn finish(&mut self, id: GroupId, told: Told, act: &Act) -> Result<Group, Fault> {
        self.raise_version(id, SMALL_GROUP_MEMBERS_MAX).await?;
        let group = self.group(id).await?.ok_or_else(no_conversation)?;
        let event = GroupEvent {
            group_id: id,
            version: group.version,
            actor_id: act.actor,
            user_ids: told.user_ids,
            name: told.name,
            role: told.role.map(|role| role.name().to_owned()),
        };
        let content = serde_json::to_string(&event).map_err(|e| sqlx::Error::Encode(e.into()))?;
        self.insert_event(ConversationId::Group(id), told.kind.name(), &content, act).await?;
        Ok(group)
    }

    /// Adds those who are not members yet, and says who they are.
    async fn add_members(&mut self, group: &Group, users: &[UserId], at: i64) -> Result<Vec<UserId>, Fault> {
        self.check_users(users).await?;
        let present: HashSet<_> = self.members_of_these(group.id, users).await?.into_iter().collect();
        let new: Vec<_> = users.iter().copied().filter(|user| !present.contains(user)).collect();
        check_room(usize::try_from(group.member_count).unwrap_or_default() + new.len(), group.max_members)?;
        self.lock_conversation(ConversationId::Group(group.id)).await?;
        self.insert_members(group.id, &new, Role::Member, at).await?;
        Ok(new)
    }

    /// Refuses a list with somebody who is not there.
    async fn check_users(&mut self, users: &[UserId]) -> Result<(), Fault> {
        match self.missing_user(users).await? {
            Some(id) => Err(no_user(id).into()),
            None => Ok(()),
        }
    }

    pub(super) async fn group(&mut self, id: GroupId) -> Result<Option<Group>, Fault> {
        static SELECT: Statement = Statement::new(select_groups!("WHERE group_id = $1"));
        Ok(self.row::<GroupRow>(&SELECT, values![id]).await?.map(group_of))
    }

    async fn lock_group(&mut self, id: GroupId) -> Result<Option<Group>, Fault> {
        static LOCK: Statement = Statement::new(select_groups!("WHERE group_id = $1 FOR NO KEY UPDATE"));
        Ok(self.row::<GroupRow>(&LOCK, values![id]).await?.map(group_of))
    }

    async fn lock_conversation(&mut self, id: ConversationId) -> Result<(), Fault> {
        static LOCK: Statement =
            Statement::new("SELECT 1 FROM conversations WHERE conversation_id = $1 FOR NO KEY UPDATE");
        self.run(&LOCK, values![&id.to_string()]).await?;
        Ok(())
    }

    /// A group without members at version 0, and its conversation. Whether they were inserted; not when
    /// there is a group of that id.
    async fn insert_group(&mut self, new: &NewGroup, act: &Act) -> Result<bool, Fault> {
        static INSERT: Statement = Statement::new(
            "INSERT INTO groups (group_id, name, description, owner_id, member_count, max_members, version, large, \
             dissolved, created_at) VALUES ($1, $2, $3, $4, 0, $5, 0, FALSE, FALSE, $6) ON CONFLICT DO NOTHING",
        );
        static INSERT_CONVERSATION: Statement = Statement::new(
            "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) \
             VALUES ($1, 0, 0, 0, $2)",
        );
        let row = values![new.id, &new.name, &new.description, act.actor, new.max_members, act.at];
        let inserted = self.insert(&INSERT, row).await?;
        if inserted {
            let id = ConversationId::Group(new.id).to_string();
            self.run(&INSERT_CONVERSATION, values![&id, act.at]).await?;
        }
        Ok(inserted)
    }

    async fn rename_group(&mut self, id: GroupId, name: Option<&str>, description: Option<&str>) -> Result<(), Fault> {
        static UPDATE: Statement = Statement::new(
            "UPDATE groups SET name = coalesce($1, name), description = coalesce($2, description) WHERE group_id = $3",
        );
        self.run(&UPDATE, values![name, description, id]).await?;
        Ok(())
    }

    async fn set_owner(&mut self, group: GroupId, user: UserId) -> Result<(), Fault> {
        static UPDATE: Statement = Statement::new("UPDATE groups SET owner_id = $1 WHERE group_id = $2");
        self.run(&UPDATE, values![user, group]).await?;
        Ok(())
    }

    async fn dissolve_group(&mut self, id: GroupId) -> Result<(), Fault> {
        static UPDATE: Statement = Statement::new("UPDATE groups SET dissolved = TRUE WHERE group_id = $1");
        self.run(&UPDATE, values![id]).await?;
        Ok(())
    }

    /// Raises the version and counts the members again; more than `small_max` make it large for good.
    async fn raise_version(&mut self, id: GroupId, small_max: i32) -> Result<(), Fault> {
        static UPDATE: Statement = Statement::new(
            "UPDATE groups SET version = version + 1, member_count = counted.n, large = large OR counted.n > $1 \
             FROM (SELECT count(*) AS n FROM group_members WHERE group_id = $2) AS counted WHERE group_id = $2",
        )
        .mysql(
            "UPDATE groups g JOIN (SELECT count(*) AS n FROM group_members WHERE group_id = $2) counted \
             SET g.version = g.version + 1, g.member_count = counted.n, g.large = g.large OR counted.n > $1 \
             WHERE g.group_id = $2",
        );
        self.run(&UPDATE, values![small_max, id]).await?;
        Ok(())
    }
}
