//! Removal of messages.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use crate::repo::sql::fault::Fault;
use crate::repo::sql::tables::Removals;

#[async_trait]
impl Removals for SqliteConnection {
    /// The transaction that writes is alone.
    async fn hold(&mut self, _conversations: &[&str]) -> Result<(), Fault> {
        Ok(())
    }

    async fn raise_retired(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = "INSERT INTO retired (conversation_id, seq_id, ordinal) \
             SELECT given.value->>0, given.value->>1, coalesce(m.ordinal, 0) FROM json_each(?1) AS given \
             LEFT JOIN messages m ON m.conversation_id = given.value->>0 AND m.seq_id = given.value->>1 WHERE true \
             ON CONFLICT (conversation_id) DO UPDATE SET seq_id = excluded.seq_id, \
             ordinal = max(ordinal, excluded.ordinal) WHERE excluded.seq_id > retired.seq_id";
        sqlx::query(SQL).bind(given(conversations, seqs)).execute(self).await?;
        Ok(())
    }

    async fn blank_what_is_about(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = "UPDATE messages SET content = '' \
             FROM (SELECT value->>0 AS conversation_id, value->>1 AS seq_id FROM json_each(?1)) AS given \
             WHERE messages.conversation_id = given.conversation_id AND messages.target_seq = given.seq_id \
             AND messages.kind IN ('edit', 'reaction') AND messages.content <> ''";
        sqlx::query(SQL).bind(given(conversations, seqs)).execute(self).await?;
        Ok(())
    }

    async fn delete_messages(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<u64, Fault> {
        // By rowid: a pair of values is looked up by the first of them alone.
        const SQL: &str = "DELETE FROM messages WHERE message_id IN (SELECT m.message_id FROM json_each(?1) AS given \
             CROSS JOIN messages m ON m.conversation_id = given.value->>0 AND m.seq_id = given.value->>1)";
        Ok(sqlx::query(SQL).bind(given(conversations, seqs)).execute(self).await?.rows_affected())
    }

    async fn retired_from(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<(String, i64)>, Fault> {
        const SQL: &str = "SELECT t.conversation_id, t.seq_id FROM json_each(?1) AS given \
             CROSS JOIN retired t ON t.conversation_id = given.value->>0 WHERE t.seq_id >= given.value->>1";
        Ok(sqlx::query_as(SQL).bind(given(conversations, seqs)).fetch_all(self).await?)
    }
}

/// Places as one JSON value.
fn given(conversations: &[&str], seqs: &[i64]) -> String {
    Value::from_iter(conversations.iter().zip(seqs).map(|(&text, &seq)| json!([text, seq]))).to_string()
}
