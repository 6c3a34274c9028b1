//! Who is in a group.

use schemas::ids::{ConversationId, GroupId, UserId};

use super::fault::Fault;
use super::rows::{MemberRow, limit_of, member_of, membership_of, numbers, role_named};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::model::{Member, Membership, Role};

macro_rules! select_members {
    ($rest:literal) => {
        concat!(
            "SELECT m.user_id, u.username, u.display_name, m.role, m.joined_at \
             FROM group_members m JOIN users u ON u.user_id = m.user_id WHERE m.group_id = $1 ",
            $rest
        )
    };
}

impl Session<'_> {
    /// By user id, those above `after`.
    pub(super) async fn members(&mut self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, Fault> {
        static SELECT: Statement = Statement::new(select_members!("AND m.user_id > $2 ORDER BY m.user_id LIMIT $3"));
        let rows: Vec<MemberRow> = self.rows(&SELECT, values![group, after, limit_of(limit)]).await?;
        rows.into_iter().map(member_of).collect()
    }

    /// Those of these users who are members, by user id.
    pub(super) async fn members_among(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, Fault> {
        static SELECT: Statement = Statement::new(select_members!("AND m.user_id = ANY($2) ORDER BY m.user_id")).mysql(
            "SELECT m.user_id, u.username, u.display_name, m.role, m.joined_at \
             FROM UNNEST($2::bigint[]) AS given (id) \
             STRAIGHT_JOIN group_members m ON m.group_id = $1 AND m.user_id = given.id \
             JOIN users u ON u.user_id = m.user_id ORDER BY m.user_id",
        );
        let rows: Vec<MemberRow> = self.rows(&SELECT, values![group, &*numbers(users)]).await?;
        rows.into_iter().map(member_of).collect()
    }

    /// Version and members of the same instant.
    pub(super) async fn membership(&mut self, group: GroupId) -> Result<Option<Membership>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT g.version, g.large, m.user_id FROM groups g LEFT JOIN group_members m ON m.group_id = g.group_id \
             WHERE g.group_id = $1 ORDER BY m.user_id",
        );
        Ok(membership_of(group, self.rows(&SELECT, values![group]).await?))
    }

    pub(super) async fn role_of(&mut self, group: GroupId, user: UserId) -> Result<Option<Role>, Fault> {
        static SELECT: Statement =
            Statement::new("SELECT role FROM group_members WHERE group_id = $1 AND user_id = $2");
        let row: Option<(String,)> = self.row(&SELECT, values![group, user]).await?;
        row.map(|(role,)| role_named(&role)).transpose()
    }

    /// The ids of those of these users who are members.
    pub(super) async fn members_of_these(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<UserId>, Fault> {
        static SELECT: Statement =
            Statement::new("SELECT user_id FROM group_members WHERE group_id = $1 AND user_id = ANY($2)").mysql(
                "SELECT m.user_id FROM UNNEST($2::bigint[]) AS given (id) \
                 STRAIGHT_JOIN group_members m ON m.user_id = given.id WHERE m.group_id = $1",
            );
        let rows: Vec<(i64,)> = self.rows(&SELECT, values![group, &*numbers(users)]).await?;
        Ok(rows.into_iter().map(|(id,)| UserId(id)).collect())
    }

    /// One of these users who does not exist.
    pub(super) async fn missing_user(&mut self, users: &[UserId]) -> Result<Option<UserId>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT given.id FROM UNNEST($1::bigint[]) AS given (id) \
             LEFT JOIN users u ON u.user_id = given.id WHERE u.user_id IS NULL LIMIT 1",
        );
        let row: Option<(i64,)> = self.row(&SELECT, values![&*numbers(users)]).await?;
        Ok(row.map(|(id,)| UserId(id)))
    }

    /// Who joins reads from what comes next.
    pub(super) async fn insert_members(
        &mut self,
        group: GroupId,
        users: &[UserId],
        role: Role,
        at: i64,
    ) -> Result<(), Fault> {
        static INSERT: Statement = Statement::new(
            "INSERT INTO group_members (group_id, user_id, role, joined_at) \
             SELECT $1, given.id, $2, $3 FROM UNNEST($4::bigint[]) AS given (id)",
        );
        static INSERT_CONVERSATIONS: Statement = Statement::new(
            "INSERT INTO user_conversations (user_id, conversation_id, joined_seq, own_seq) \
             SELECT given.id, c.conversation_id, c.last_seq + 1, 0 FROM UNNEST($1::bigint[]) AS given (id), \
             conversations c WHERE c.conversation_id = $2 ON CONFLICT DO NOTHING",
        )
        .mysql(
            "INSERT INTO user_conversations (user_id, conversation_id, joined_seq, own_seq) \
             SELECT given.id, c.conversation_id, c.last_seq + 1, 0 FROM UNNEST($1::bigint[]) AS given (id), \
             conversations c WHERE c.conversation_id = $2 \
             ON DUPLICATE KEY UPDATE own_seq = user_conversations.own_seq",
        );
        let users = numbers(users);
        self.run(&INSERT, values![group, role.name(), at, &*users]).await?;
        self.run(&INSERT_CONVERSATIONS, values![&*users, &ConversationId::Group(group).to_string()]).await?;
        Ok(())
    }

    pub(super) async fn delete_member(&mut self, group: GroupId, user: UserId) -> Result<(), Fault> {
        static DELETE: Statement = Statement::new("DELETE FROM group_members WHERE group_id = $1 AND user_id = $2");
        static DELETE_CONVERSATION: Statement =
            Statement::new("DELETE FROM user_conversations WHERE user_id = $1 AND conversation_id = $2");
        self.run(&DELETE, values![group, user]).await?;
        self.run(&DELETE_CONVERSATION, values![user, &ConversationId::Group(group).to_string()]).await?;
        Ok(())
    }

    pub(super) async fn set_role(&mut self, group: GroupId, user: UserId, role: Role) -> Result<(), Fault> {
        static UPDATE: Statement =
            Statement::new("UPDATE group_members SET role = $1 WHERE group_id = $2 AND user_id = $3");
        self.run(&UPDATE, values![role.name(), group, user]).await?;
        Ok(())
    }
}
