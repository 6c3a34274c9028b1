//! A user's conversations.

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, UserId};

use super::{Session, id_list};
use crate::repo::model::{ConversationsAfter, ReadMark};
use crate::repo::sql::tables::{Conversations, ListRow};
use crate::repo::sql::{Fault, limit_of, read_mark_of};

/// Conversations of a user (`?1`), `world` always among them.
macro_rules! with_mine {
    ($rest:literal) => {
        concat!(
            "WITH mine (conversation_id, joined_seq, own_seq) AS ( \
             SELECT conversation_id, joined_seq, own_seq FROM user_conversations WHERE user_id = ?1 \
             UNION ALL SELECT 'world', 1, 0 WHERE NOT EXISTS (SELECT 1 FROM user_conversations \
             WHERE user_id = ?1 AND conversation_id = 'world')) ",
            $rest
        )
    };
}

#[async_trait]
impl Conversations for Session {
    async fn list(
        &mut self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ListRow>, Fault> {
        let (updated_at, id) = after.map_or((i64::MAX, String::new()), |a| (a.updated_at, a.id.to_string()));
        let rows = sqlx::query_as(with_mine!(
            "SELECT mine.conversation_id, coalesce(c.last_seq, 0), coalesce(r.seq_id, 0), \
             max(0, coalesce(c.last_ordinal, 0) - coalesce(base.ordinal, 0)), \
             CASE WHEN c.newest_seq >= mine.joined_seq THEN c.newest_seq ELSE 0 END, coalesce(c.updated_at, 0) \
             FROM mine LEFT JOIN conversations c ON c.conversation_id = mine.conversation_id \
             LEFT JOIN read_marks r ON r.user_id = ?1 AND r.conversation_id = mine.conversation_id \
             LEFT JOIN messages base ON base.conversation_id = mine.conversation_id \
             AND base.seq_id = max(coalesce(r.seq_id, 0), mine.own_seq, mine.joined_seq - 1) \
             WHERE (coalesce(c.updated_at, 0), mine.conversation_id) < (?2, ?3) \
             ORDER BY coalesce(c.updated_at, 0) DESC, mine.conversation_id DESC LIMIT ?4"
        ));
        Ok(rows.bind(user.0).bind(updated_at).bind(id).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn heads(&mut self, user: UserId, since: i64, limit: usize) -> Result<Vec<(String, i64)>, Fault> {
        let rows = sqlx::query_as(with_mine!(
            "SELECT c.conversation_id, c.last_seq FROM mine JOIN conversations c USING (conversation_id) \
             WHERE c.updated_at >= ?2 ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT ?3"
        ));
        Ok(rows.bind(user.0).bind(since).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn read_marks(&mut self, conversation: ConversationId) -> Result<Vec<ReadMark>, Fault> {
        const OF_PAIR: &str = "SELECT user_id, seq_id FROM read_marks WHERE user_id IN (?1, ?2) \
             AND conversation_id = ?3 ORDER BY user_id";
        const OF_GROUP: &str = "SELECT r.user_id, r.seq_id FROM groups g \
             JOIN group_members m ON m.group_id = g.group_id \
             JOIN read_marks r ON r.user_id = m.user_id AND r.conversation_id = ?1 \
             WHERE g.group_id = ?2 AND NOT g.large ORDER BY r.user_id";
        let text = conversation.to_string();
        let rows: Vec<(i64, i64)> = match conversation {
            ConversationId::Single { low, high } => {
                sqlx::query_as(OF_PAIR).bind(low.0).bind(high.0).bind(text).fetch_all(self).await?
            }
            ConversationId::Group(group) => sqlx::query_as(OF_GROUP).bind(text).bind(group.0).fetch_all(self).await?,
            ConversationId::World => Vec::new(),
        };
        Ok(rows.into_iter().map(read_mark_of).collect())
    }

    async fn display_names(&mut self, users: &[i64]) -> Result<Vec<(i64, String)>, Fault> {
        let rows = sqlx::query_as(
            "SELECT user_id, display_name FROM users WHERE user_id IN (SELECT value FROM json_each(?1))",
        );
        Ok(rows.bind(id_list(users.iter().copied())).fetch_all(self).await?)
    }

    async fn group_names(&mut self, groups: &[i64]) -> Result<Vec<(i64, String)>, Fault> {
        let rows =
            sqlx::query_as("SELECT group_id, name FROM groups WHERE group_id IN (SELECT value FROM json_each(?1))");
        Ok(rows.bind(id_list(groups.iter().copied())).fetch_all(self).await?)
    }

    async fn place_in_group(
        &mut self,
        group: GroupId,
        user: UserId,
    ) -> Result<Option<(bool, Option<String>, i64)>, Fault> {
        let row = sqlx::query_as(
            "SELECT g.dissolved, m.role, coalesce(uc.joined_seq, 1) FROM groups g \
             LEFT JOIN group_members m ON m.group_id = g.group_id AND m.user_id = ?2 \
             LEFT JOIN user_conversations uc ON uc.user_id = ?2 AND uc.conversation_id = ?3 WHERE g.group_id = ?1",
        );
        let conversation = ConversationId::Group(group).to_string();
        Ok(row.bind(group.0).bind(user.0).bind(conversation).fetch_optional(self).await?)
    }
}
