//! Reading who is in a group.

use async_trait::async_trait;
use schemas::ids::{GroupId, UserId};

use super::Session;
use super::json::{given_ids, user_ids};
use crate::repo::model::{Member, Membership};
use crate::repo::sql::tables::Members;
use crate::repo::sql::{Fault, MemberRow, limit_of, member_of, membership_of};

#[async_trait]
impl Members for Session {
    async fn members(&mut self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, Fault> {
        let rows: Vec<MemberRow> = sqlx::query_as(
            "SELECT m.user_id, u.username, u.display_name, m.role, m.joined_at \
             FROM group_members m JOIN users u ON u.user_id = m.user_id \
             WHERE m.group_id = ? AND m.user_id > ? ORDER BY m.user_id LIMIT ?",
        )
        .bind(group.0)
        .bind(after.0)
        .bind(limit_of(limit))
        .fetch_all(self)
        .await?;
        rows.into_iter().map(member_of).collect()
    }

    async fn members_among(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, Fault> {
        let rows: Vec<MemberRow> = sqlx::query_as(concat!(
            "SELECT m.user_id, u.username, u.display_name, m.role, m.joined_at FROM ",
            given_ids!(),
            " STRAIGHT_JOIN group_members m ON m.group_id = ? AND m.user_id = given.id \
             JOIN users u ON u.user_id = m.user_id ORDER BY m.user_id"
        ))
        .bind(user_ids(users))
        .bind(group.0)
        .fetch_all(self)
        .await?;
        rows.into_iter().map(member_of).collect()
    }

    async fn membership(&mut self, group: GroupId) -> Result<Option<Membership>, Fault> {
        let rows: Vec<(i64, bool, Option<i64>)> = sqlx::query_as(
            "SELECT g.version, g.large, m.user_id FROM `groups` g LEFT JOIN group_members m ON m.group_id = g.group_id \
             WHERE g.group_id = ? ORDER BY m.user_id",
        )
        .bind(group.0)
        .fetch_all(self)
        .await?;
        Ok(membership_of(group, rows))
    }
}
