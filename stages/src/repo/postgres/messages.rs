//! Reading messages: as they are now.

use async_trait::async_trait;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};

use super::Session;
use crate::repo::model::Message;
use crate::repo::sql::tables::{Messages, Slice, Sliced};
use crate::repo::sql::{Fault, limit_of, message_columns, messages_of, sliced_of};

macro_rules! select_messages {
    ($rest:literal) => {
        concat!("SELECT m.conversation_id, ", message_columns!(), " FROM messages m ", $rest)
    };
}

/// A page of conversation `$1`, whose newest seq comes with each row.
macro_rules! select_slice {
    ($rest:literal) => {
        concat!(
            "SELECT coalesce((SELECT last_seq FROM conversations WHERE conversation_id = $1), 0), ",
            message_columns!(),
            " FROM messages m WHERE m.conversation_id = $1 AND m.seq_id >= ",
            $rest
        )
    };
}

/// Ids as an array.
pub(super) fn numbers(users: &[UserId]) -> Vec<i64> {
    users.iter().map(|user| user.0).collect()
}

#[async_trait]
impl Messages for Session {
    async fn messages_by_id(&mut self, ids: &[i64]) -> Result<Vec<Message>, Fault> {
        messages_of(sqlx::query_as(select_messages!("WHERE m.message_id = ANY($1)")).bind(ids).fetch_all(self).await?)
    }

    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault> {
        let sql =
            select_messages!("WHERE (m.conversation_id, m.seq_id) IN (SELECT * FROM UNNEST($1::text[], $2::bigint[]))");
        messages_of(sqlx::query_as(sql).bind(conversations).bind(seqs).fetch_all(self).await?)
    }

    async fn scan(&mut self, after: MessageId, limit: usize) -> Result<Vec<Message>, Fault> {
        let sql = select_messages!("WHERE m.message_id > $1 ORDER BY m.message_id LIMIT $2");
        messages_of(sqlx::query_as(sql).bind(after.0).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn newest(&mut self, limit: usize) -> Result<Vec<Message>, Fault> {
        let sql = select_messages!("ORDER BY m.message_id DESC LIMIT $1");
        messages_of(sqlx::query_as(sql).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn head(&mut self, conversation: ConversationId) -> Result<Seq, Fault> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT last_seq FROM conversations WHERE conversation_id = $1")
            .bind(conversation.to_string())
            .fetch_optional(self)
            .await?;
        Ok(Seq(row.map_or(0, |(seq,)| seq)))
    }

    async fn slice(
        &mut self,
        conversation: ConversationId,
        first: Seq,
        slice: Slice,
        limit: usize,
    ) -> Result<Sliced, Fault> {
        const BELOW: &str = select_slice!("$2 AND m.seq_id < $3 ORDER BY m.seq_id DESC LIMIT $4");
        const ABOVE: &str = select_slice!("$2 AND m.seq_id > $3 ORDER BY m.seq_id LIMIT $4");
        let (sql, edge) = match slice {
            Slice::Below(edge) => (BELOW, edge),
            Slice::Above(edge) => (ABOVE, edge),
        };
        let text = conversation.to_string();
        let query = sqlx::query_as(sql).bind(text).bind(first.0).bind(edge.0).bind(limit_of(limit));
        Ok(sliced_of(conversation, query.fetch_all(self).await?))
    }
}
