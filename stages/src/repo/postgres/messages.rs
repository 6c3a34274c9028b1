//! Pages of messages, as they are now.

use async_trait::async_trait;
use schemas::ids::{ConversationId, Seq};
use sqlx::postgres::PgConnection;

use crate::repo::model::Message;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::{Sliced, limit_of, message_columns, messages_of, sliced_of};
use crate::repo::sql::tables::{Pages, Slice};

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
