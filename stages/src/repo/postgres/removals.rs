//! Removal of messages.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use crate::repo::sql::fault::Fault;
use crate::repo::sql::tables::Removals;

#[async_trait]
impl Removals for PgConnection {
    async fn hold(&mut self, conversations: &[&str]) -> Result<(), Fault> {
        const SQL: &str = "SELECT 1 FROM conversations WHERE conversation_id = ANY($1) \
             ORDER BY conversation_id FOR NO KEY UPDATE";
        sqlx::query(SQL).bind(conversations).execute(self).await?;
        Ok(())
    }

    async fn raise_retired(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = "INSERT INTO retired AS t (conversation_id, seq_id, ordinal) \
             SELECT given.conversation_id, given.seq_id, coalesce((SELECT m.ordinal FROM messages m \
             WHERE m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id), 0) \
             FROM UNNEST($1::text[], $2::bigint[]) AS given (conversation_id, seq_id) \
             ON CONFLICT (conversation_id) DO UPDATE SET seq_id = excluded.seq_id, \
             ordinal = greatest(t.ordinal, excluded.ordinal) WHERE excluded.seq_id > t.seq_id";
        sqlx::query(SQL).bind(conversations).bind(seqs).execute(self).await?;
        Ok(())
    }

    async fn blank_what_is_about(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = "UPDATE messages m SET content = '' \
             FROM UNNEST($1::text[], $2::bigint[]) AS given (conversation_id, seq_id) \
             WHERE m.conversation_id = given.conversation_id AND m.target_seq = given.seq_id \
             AND m.target_seq IS NOT NULL AND m.kind IN ('edit', 'reaction') AND m.content <> ''";
        sqlx::query(SQL).bind(conversations).bind(seqs).execute(self).await?;
        Ok(())
    }

    async fn delete_messages(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<u64, Fault> {
        const SQL: &str = "DELETE FROM messages \
             WHERE (conversation_id, seq_id) IN (SELECT * FROM UNNEST($1::text[], $2::bigint[]))";
        Ok(sqlx::query(SQL).bind(conversations).bind(seqs).execute(self).await?.rows_affected())
    }

    async fn retired_from(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<(String, i64)>, Fault> {
        const SQL: &str = "SELECT t.conversation_id, t.seq_id \
             FROM UNNEST($1::text[], $2::bigint[]) AS given (conversation_id, seq_id) \
             JOIN retired t ON t.conversation_id = given.conversation_id WHERE t.seq_id >= given.seq_id";
        Ok(sqlx::query_as(SQL).bind(conversations).bind(seqs).fetch_all(self).await?)
    }
}
