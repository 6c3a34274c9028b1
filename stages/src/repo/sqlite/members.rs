//! Reading who is in a group.

use schemas::ids::{GroupId, UserId};
use sqlx::sqlite::SqliteConnection;

use super::{Fault, id_list, limit_of};
use crate::repo::model::{Member, Membership, Role};

type MemberRow = (i64, String, String, String, i64);

macro_rules! select_members {
    ($rest:literal) => {
        concat!(
            "SELECT m.user_id, u.username, u.display_name, m.role, m.joined_at \
             FROM group_members m JOIN users u ON u.user_id = m.user_id WHERE m.group_id = ? ",
            $rest
        )
    };
}

fn member_of((id, username, display_name, role, joined_at): MemberRow) -> Result<Member, Fault> {
    let role = Role::named(&role).ok_or_else(|| Fault::Unreadable(format!("role {role:?}")))?;
    Ok(Member { user_id: UserId(id), username, display_name, role, joined_at })
}

pub(super) async fn page(
    conn: &mut SqliteConnection,
    group: GroupId,
    after: UserId,
    limit: usize,
) -> Result<Vec<Member>, Fault> {
    let rows: Vec<MemberRow> = sqlx::query_as(select_members!("AND m.user_id > ? ORDER BY m.user_id LIMIT ?"))
        .bind(group.0)
        .bind(after.0)
        .bind(limit_of(limit))
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(member_of).collect()
}

pub(super) async fn among(conn: &mut SqliteConnection, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, Fault> {
    let rows: Vec<MemberRow> =
        sqlx::query_as(select_members!("AND m.user_id IN (SELECT value FROM json_each(?)) ORDER BY m.user_id"))
            .bind(group.0)
            .bind(id_list(users.iter().map(|user| &user.0)))
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(member_of).collect()
}

/// One statement, so that version and members are of the same instant.
pub(super) async fn all(conn: &mut SqliteConnection, group: GroupId) -> Result<Option<Membership>, Fault> {
    let rows: Vec<(i64, bool, Option<i64>)> = sqlx::query_as(
        "SELECT g.version, g.large, m.user_id FROM groups g LEFT JOIN group_members m ON m.group_id = g.group_id \
         WHERE g.group_id = ? ORDER BY m.user_id",
    )
    .bind(group.0)
    .fetch_all(conn)
    .await?;
    let Some(&(version, large, _)) = rows.first() else { return Ok(None) };
    let user_ids = rows.into_iter().filter_map(|(_, _, user)| user.map(UserId)).collect();
    Ok(Some(Membership { group_id: group, version, large, user_ids }))
}
