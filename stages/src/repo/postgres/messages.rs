//! Pages of messages, as they are now.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::repo::model::Message;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::{Sliced, message_columns, messages_of, select_slice, sliced_of};
use crate::repo::sql::tables::{Pages, Slice};

#[async_trait]
impl Pages for PgConnection {
    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault> {
        const SQL: &str = concat!(
            "SELECT m.conversation_id, ",
            message_columns!(),
            " FROM messages m WHERE (m.conversation_id, m.seq_id) IN (SELECT * FROM UNNEST($1::text[], $2::bigint[]))"
        );
        messages_of(sqlx::query_as(SQL).bind(conversations).bind(seqs).fetch_all(self).await?)
    }

    async fn slice(&mut self, slice: &Slice) -> Result<Sliced, Fault> {
        const BELOW: &str = select_slice!("$1", "$2 AND m.seq_id < $3 ORDER BY m.seq_id DESC LIMIT $4");
        const ABOVE: &str = select_slice!("$1", "$2 AND m.seq_id > $3 ORDER BY m.seq_id LIMIT $4");
        let (sql, edge) = slice.choose(BELOW, ABOVE);
        let text = slice.conversation.to_string();
        let query = sqlx::query_as(sql).bind(text).bind(slice.first.0).bind(edge).bind(slice.limit);
        Ok(sliced_of(slice.conversation, query.fetch_all(self).await?))
    }
}
