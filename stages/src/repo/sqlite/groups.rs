//! Groups, their members, and the events that tell of changes.

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, UserId};

use super::{Session, id_list, user_list};
use crate::repo::model::{Act, Group, NewGroup, OutboxRow, Role};
use crate::repo::sql::tables::{Groups, Outbox};
use crate::repo::sql::{Fault, GroupRow, OutboxColumns, group_of, limit_of, outbox_row_of, role_named};

macro_rules! select_groups {
    ($rest:literal) => {
        concat!(
            "SELECT group_id, name, description, owner_id, member_count, max_members, version, large, dissolved, \
             created_at FROM groups ",
            $rest
        )
    };
}

#[async_trait]
impl Groups for Session {
    async fn group(&mut self, id: GroupId) -> Result<Option<Group>, Fault> {
        let row: Option<GroupRow> =
            sqlx::query_as(select_groups!("WHERE group_id = ?1")).bind(id.0).fetch_optional(self).await?;
        Ok(row.map(group_of))
    }

    async fn lock_group(&mut self, id: GroupId) -> Result<Option<Group>, Fault> {
        self.group(id).await
    }

    async fn lock_conversation(&mut self, _id: ConversationId) -> Result<(), Fault> {
        Ok(())
    }

    async fn insert_group(&mut self, new: &NewGroup, act: &Act) -> Result<bool, Fault> {
        let inserted = sqlx::query(
            "INSERT INTO groups (group_id, name, description, owner_id, member_count, max_members, version, large, \
             dissolved, created_at) VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, 0, ?6) \
             ON CONFLICT (group_id) DO NOTHING",
        )
        .bind(new.id.0)
        .bind(&new.name)
        .bind(&new.description)
        .bind(act.actor.0)
        .bind(new.max_members)
        .bind(act.at)
        .execute(&mut *self)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) \
             VALUES (?1, 0, 0, 0, ?2)",
        )
        .bind(ConversationId::Group(new.id).to_string())
        .bind(act.at)
        .execute(self)
        .await?;
        Ok(true)
    }

    async fn missing_user(&mut self, users: &[UserId]) -> Result<Option<UserId>, Fault> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT user_id FROM users) LIMIT 1")
                .bind(user_list(users))
                .fetch_optional(self)
                .await?;
        Ok(row.map(|(id,)| UserId(id)))
    }

    async fn role_of(&mut self, group: GroupId, user: UserId) -> Result<Option<Role>, Fault> {
        let row: Option<(String,)> =
            sqlx::query_as("SELECT role FROM group_members WHERE group_id = ?1 AND user_id = ?2")
                .bind(group.0)
                .bind(user.0)
                .fetch_optional(self)
                .await?;
        row.map(|(role,)| role_named(&role)).transpose()
    }

    async fn members_of_these(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<UserId>, Fault> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT user_id FROM group_members WHERE group_id = ?1 AND user_id IN (SELECT value FROM json_each(?2))",
        )
        .bind(group.0)
        .bind(user_list(users))
        .fetch_all(self)
        .await?;
        Ok(rows.into_iter().map(|(id,)| UserId(id)).collect())
    }

    async fn insert_members(&mut self, group: GroupId, users: &[UserId], role: Role, at: i64) -> Result<(), Fault> {
        let users = user_list(users);
        sqlx::query(
            "INSERT INTO group_members (group_id, user_id, role, joined_at) \
             SELECT ?1, value, ?2, ?3 FROM json_each(?4)",
        )
        .bind(group.0)
        .bind(role.name())
        .bind(at)
        .bind(&users)
        .execute(&mut *self)
        .await?;
        sqlx::query(
            "INSERT INTO user_conversations (user_id, conversation_id, joined_seq, own_seq) \
             SELECT value, c.conversation_id, c.last_seq + 1, 0 FROM json_each(?1) JOIN conversations c \
             WHERE c.conversation_id = ?2 ON CONFLICT DO NOTHING",
        )
        .bind(&users)
        .bind(ConversationId::Group(group).to_string())
        .execute(self)
        .await?;
        Ok(())
    }

    async fn delete_member(&mut self, group: GroupId, user: UserId) -> Result<(), Fault> {
        sqlx::query("DELETE FROM group_members WHERE group_id = ?1 AND user_id = ?2")
            .bind(group.0)
            .bind(user.0)
            .execute(&mut *self)
            .await?;
        sqlx::query("DELETE FROM user_conversations WHERE user_id = ?1 AND conversation_id = ?2")
            .bind(user.0)
            .bind(ConversationId::Group(group).to_string())
            .execute(self)
            .await?;
        Ok(())
    }

    async fn rename_group(&mut self, id: GroupId, name: Option<&str>, description: Option<&str>) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE groups SET name = coalesce(?1, name), description = coalesce(?2, description) WHERE group_id = ?3",
        )
        .bind(name)
        .bind(description)
        .bind(id.0)
        .execute(self)
        .await?;
        Ok(())
    }

    async fn set_role(&mut self, group: GroupId, user: UserId, role: Role) -> Result<(), Fault> {
        sqlx::query("UPDATE group_members SET role = ?1 WHERE group_id = ?2 AND user_id = ?3")
            .bind(role.name())
            .bind(group.0)
            .bind(user.0)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn set_owner(&mut self, group: GroupId, user: UserId) -> Result<(), Fault> {
        sqlx::query("UPDATE groups SET owner_id = ?1 WHERE group_id = ?2")
            .bind(user.0)
            .bind(group.0)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn dissolve_group(&mut self, id: GroupId) -> Result<(), Fault> {
        sqlx::query("UPDATE groups SET dissolved = 1 WHERE group_id = ?1").bind(id.0).execute(self).await?;
        Ok(())
    }

    async fn raise_version(&mut self, id: GroupId, small_max: i32) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE groups SET version = version + 1, member_count = counted.n, large = large OR counted.n > ?1 \
             FROM (SELECT count(*) AS n FROM group_members WHERE group_id = ?2) AS counted \
             WHERE group_id = ?2",
        )
        .bind(small_max)
        .bind(id.0)
        .execute(self)
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Outbox for Session {
    async fn insert_event(
        &mut self,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        act: &Act,
    ) -> Result<(), Fault> {
        sqlx::query(
            "INSERT INTO outbox (conversation_id, actor_id, client_msg_id, kind, content, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(conversation.to_string())
        .bind(act.actor.0)
        .bind(&act.event_id)
        .bind(kind)
        .bind(content)
        .bind(act.at)
        .execute(self)
        .await?;
        Ok(())
    }

    async fn oldest_events(&mut self, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        let rows: Vec<OutboxColumns> = sqlx::query_as(
            "SELECT outbox_id, conversation_id, actor_id, client_msg_id, kind, content, created_at FROM outbox \
             ORDER BY outbox_id LIMIT ?1",
        )
        .bind(limit_of(limit))
        .fetch_all(self)
        .await?;
        rows.into_iter().map(outbox_row_of).collect()
    }

    async fn delete_events(&mut self, ids: &[i64]) -> Result<(), Fault> {
        sqlx::query("DELETE FROM outbox WHERE outbox_id IN (SELECT value FROM json_each(?1))")
            .bind(id_list(ids.iter().copied()))
            .execute(self)
            .await?;
        Ok(())
    }
}
