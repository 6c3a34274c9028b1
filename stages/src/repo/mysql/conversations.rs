//! A user's conversations.

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, UserId};

use super::Session;
use super::json::{self, given_ids};
use crate::repo::model::{ConversationsAfter, ReadMark};
use crate::repo::sql::tables::{Conversations, ListRow};
use crate::repo::sql::{Fault, limit_of, read_mark_of};

/// Conversations of a user (twice `?`), `world` always among them.
macro_rules! with_mine {
    ($rest:literal) => {
        concat!(
            "WITH mine (conversation_id, joined_seq, own_seq) AS ( \
             SELECT conversation_id, joined_seq, own_seq FROM user_conversations WHERE user_id = ? \
             UNION ALL SELECT 'world', 1, 0 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM user_conversations \
             WHERE user_id = ? AND conversation_id = 'world')) ",
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
             greatest(0, coalesce(c.last_ordinal, 0) - coalesce(base.ordinal, 0)), \
             CASE WHEN c.newest_seq >= mine.joined_seq THEN c.newest_seq ELSE 0 END, coalesce(c.updated_at, 0) \
             FROM mine LEFT JOIN conversations c ON c.conversation_id = mine.conversation_id \
             LEFT JOIN read_marks r ON r.user_id = ? AND r.conversation_id = mine.conversation_id \
             LEFT JOIN messages base ON base.conversation_id = mine.conversation_id \
             AND base.seq_id = greatest(coalesce(r.seq_id, 0), mine.own_seq, mine.joined_seq - 1) \
             WHERE (coalesce(c.updated_at, 0), mine.conversation_id) < (?, ?) \
             ORDER BY coalesce(c.updated_at, 0) DESC, mine.conversation_id DESC LIMIT ?"
        ));
        let rows = rows.bind(user.0).bind(user.0).bind(user.0);
        Ok(rows.bind(updated_at).bind(id).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn heads(&mut self, user: UserId, since: i64, limit: usize) -> Result<Vec<(String, i64)>, Fault> {
        let rows = sqlx::query_as(with_mine!(
            "SELECT c.conversation_id, c.last_seq FROM mine JOIN conversations c USING (conversation_id) \
             WHERE c.updated_at >= ? ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT ?"
        ));
        Ok(rows.bind(user.0).bind(user.0).bind(since).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn read_marks(&mut self, conversation: ConversationId) -> Result<Vec<ReadMark>, Fault> {
        const OF_PAIR: &str = "SELECT user_id, seq_id FROM read_marks WHERE user_id IN (?, ?) \
             AND conversation_id = ? ORDER BY user_id";
        const OF_GROUP: &str = "SELECT r.user_id, r.seq_id FROM `groups` g \
             JOIN group_members m ON m.group_id = g.group_id \
             JOIN read_marks r ON r.user_id = m.user_id AND r.conversation_id = ? \
             WHERE g.group_id = ? AND NOT g.large ORDER BY r.user_id";
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
        let rows = sqlx::query_as(concat!(
            "SELECT u.user_id, u.display_name FROM ",
            given_ids!(),
            " STRAIGHT_JOIN users u ON u.user_id = given.id"
        ));
        Ok(rows.bind(json::ids(users.iter().copied())).fetch_all(self).await?)
    }

    async fn group_names(&mut self, groups: &[i64]) -> Result<Vec<(i64, String)>, Fault> {
        let rows = sqlx::query_as(concat!(
            "SELECT g.group_id, g.name FROM ",
            given_ids!(),
            " STRAIGHT_JOIN `groups` g ON g.group_id = given.id"
        ));
        Ok(rows.bind(json::ids(groups.iter().copied())).fetch_all(self).await?)
    }

    async fn place_in_group(
        &mut self,
        group: GroupId,
        user: UserId,
    ) -> Result<Option<(bool, Option<String>, i64)>, Fault> {
        let row = sqlx::query_as(
            "SELECT g.dissolved, m.role, coalesce(uc.joined_seq, 1) FROM `groups` g \
             LEFT JOIN group_members m ON m.group_id = g.group_id AND m.user_id = ? \
             LEFT JOIN user_conversations uc ON uc.user_id = ? AND uc.conversation_id = ? WHERE g.group_id = ?",
        );
        let conversation = ConversationId::Group(group).to_string();
        Ok(row.bind(user.0).bind(user.0).bind(conversation).bind(group.0).fetch_optional(self).await?)
    }
}
