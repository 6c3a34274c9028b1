//! Reading messages: as they are now.

use async_trait::async_trait;
use schemas::ids::{ConversationId, MessageId, Seq};

use super::Session;
use super::json::{self, given_ids, given_places};
use crate::repo::model::Message;
use crate::repo::sql::tables::{Messages, Slice, Sliced};
use crate::repo::sql::{Fault, limit_of, message_columns, messages_of, sliced_of};

macro_rules! select_messages {
    ($given:expr, $messages:literal) => {
        concat!("SELECT m.conversation_id, ", message_columns!(), " FROM ", $given, $messages)
    };
}

/// A page of conversation `?`, whose newest seq comes with each row.
macro_rules! select_slice {
    ($rest:literal) => {
        concat!(
            "SELECT coalesce((SELECT last_seq FROM conversations WHERE conversation_id = ?), 0), ",
            message_columns!(),
            " FROM messages m WHERE m.conversation_id = ? AND m.seq_id >= ",
            $rest
        )
    };
}

#[async_trait]
impl Messages for Session {
    async fn messages_by_id(&mut self, ids: &[i64]) -> Result<Vec<Message>, Fault> {
        let given = json::ids(ids.iter().copied());
        let sql = select_messages!(given_ids!(), " STRAIGHT_JOIN messages m ON m.message_id = given.id");
        messages_of(sqlx::query_as(sql).bind(given).fetch_all(self).await?)
    }

    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault> {
        let given = json::rows(conversations.iter().zip(seqs).map(|(&text, &seq)| [text.into(), seq.into()]));
        let sql = select_messages!(
            given_places!(),
            " STRAIGHT_JOIN messages m ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id"
        );
        messages_of(sqlx::query_as(sql).bind(given).fetch_all(self).await?)
    }

    async fn scan(&mut self, after: MessageId, limit: usize) -> Result<Vec<Message>, Fault> {
        let sql = select_messages!("", "messages m WHERE m.message_id > ? ORDER BY m.message_id LIMIT ?");
        messages_of(sqlx::query_as(sql).bind(after.0).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn newest(&mut self, limit: usize) -> Result<Vec<Message>, Fault> {
        let sql = select_messages!("", "messages m ORDER BY m.message_id DESC LIMIT ?");
        messages_of(sqlx::query_as(sql).bind(limit_of(limit)).fetch_all(self).await?)
    }

    async fn head(&mut self, conversation: ConversationId) -> Result<Seq, Fault> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT last_seq FROM conversations WHERE conversation_id = ?")
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
        const BELOW: &str = select_slice!("? AND m.seq_id < ? ORDER BY m.seq_id DESC LIMIT ?");
        const ABOVE: &str = select_slice!("? AND m.seq_id > ? ORDER BY m.seq_id LIMIT ?");
        let (sql, edge) = match slice {
            Slice::Below(edge) => (BELOW, edge),
            Slice::Above(edge) => (ABOVE, edge),
        };
        let text = conversation.to_string();
        let query = sqlx::query_as(sql).bind(text.clone()).bind(text).bind(first.0).bind(edge.0).bind(limit_of(limit));
        Ok(sliced_of(conversation, query.fetch_all(self).await?))
    }
}
