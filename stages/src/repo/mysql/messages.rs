//! Pages of messages, as they are now.

use async_trait::async_trait;
use schemas::ids::{ConversationId, Seq};
use sqlx::mysql::MySqlConnection;

use super::json;
use crate::repo::model::Message;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::{Sliced, limit_of, message_columns, messages_of, sliced_of};
use crate::repo::sql::tables::{Pages, Slice};

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
impl Pages for MySqlConnection {
    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault> {
        let given = json::rows(conversations.iter().zip(seqs).map(|(&text, &seq)| [text.into(), seq.into()]));
        const SQL: &str = concat!(
            "SELECT m.conversation_id, ",
            message_columns!(),
            " FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
             conversation_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]', \
             seq_id BIGINT PATH '$[1]')) AS given \
             STRAIGHT_JOIN messages m ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id"
        );
        messages_of(sqlx::query_as(SQL).bind(given).fetch_all(self).await?)
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
