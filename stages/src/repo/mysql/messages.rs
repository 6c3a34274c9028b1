//! Pages of messages, as they are now.

use async_trait::async_trait;
use sqlx::mysql::MySqlConnection;

use super::json;
use crate::repo::model::Message;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::{Sliced, message_columns, messages_of, select_slice, sliced_of};
use crate::repo::sql::tables::{Pages, Slice};

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

    async fn slice(&mut self, slice: &Slice) -> Result<Sliced, Fault> {
        const BELOW: &str = select_slice!("?", "? AND m.seq_id < ? ORDER BY m.seq_id DESC LIMIT ?");
        const ABOVE: &str = select_slice!("?", "? AND m.seq_id > ? ORDER BY m.seq_id LIMIT ?");
        let (sql, edge) = slice.choose(BELOW, ABOVE);
        let text = slice.conversation.to_string();
        let query = sqlx::query_as(sql).bind(text.clone()).bind(text.clone()).bind(text);
        let query = query.bind(slice.first.0).bind(edge).bind(slice.limit);
        Ok(sliced_of(slice.conversation, query.fetch_all(self).await?))
    }
}
