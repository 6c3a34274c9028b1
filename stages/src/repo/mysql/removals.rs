//! Removal of messages.

use async_trait::async_trait;
use sqlx::mysql::MySqlConnection;

use super::json;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::tables::Removals;

/// Places, as table `given (conversation_id, seq_id)`.
macro_rules! given_places {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS ( \
         conversation_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]', \
         seq_id BIGINT PATH '$[1]')) AS given"
    };
}

#[async_trait]
impl Removals for MySqlConnection {
    /// In the order given: rows are locked as the join comes to them.
    async fn hold(&mut self, conversations: &[&str]) -> Result<(), Fault> {
        const SQL: &str = concat!(
            "SELECT c.last_seq FROM ",
            given_places!(),
            " STRAIGHT_JOIN conversations c ON c.conversation_id = given.conversation_id FOR UPDATE"
        );
        let no_seqs = vec![0; conversations.len()];
        sqlx::query(SQL).bind(places(conversations, &no_seqs)).execute(self).await?;
        Ok(())
    }

    async fn raise_retired(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = concat!(
            "INSERT INTO retired (conversation_id, seq_id, ordinal) \
             SELECT given.conversation_id, given.seq_id, coalesce(m.ordinal, 0) FROM ",
            given_places!(),
            " LEFT JOIN messages m ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id \
             ON DUPLICATE KEY UPDATE ordinal = greatest(retired.ordinal, VALUES(ordinal)), \
             seq_id = greatest(retired.seq_id, VALUES(seq_id))"
        );
        sqlx::query(SQL).bind(places(conversations, seqs)).execute(self).await?;
        Ok(())
    }

    async fn blank_what_is_about(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault> {
        const SQL: &str = concat!(
            "UPDATE ",
            given_places!(),
            " STRAIGHT_JOIN message_targets t ON t.conversation_id = given.conversation_id \
             AND t.target_seq = given.seq_id \
             STRAIGHT_JOIN messages m ON m.conversation_id = t.conversation_id AND m.seq_id = t.seq_id \
             SET m.content = '' WHERE m.kind IN ('edit', 'reaction') AND m.content <> ''"
        );
        sqlx::query(SQL).bind(places(conversations, seqs)).execute(self).await?;
        Ok(())
    }

    async fn delete_messages(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<u64, Fault> {
        const TARGETS: &str = concat!(
            "DELETE t FROM ",
            given_places!(),
            " STRAIGHT_JOIN messages m ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id \
             STRAIGHT_JOIN message_targets t ON t.conversation_id = m.conversation_id \
             AND t.target_seq = m.target_seq AND t.seq_id = m.seq_id"
        );
        const MESSAGES: &str = concat!(
            "DELETE m FROM ",
            given_places!(),
            " STRAIGHT_JOIN messages m ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id"
        );
        let places = places(conversations, seqs);
        sqlx::query(TARGETS).bind(&places).execute(&mut *self).await?;
        Ok(sqlx::query(MESSAGES).bind(&places).execute(&mut *self).await?.rows_affected())
    }

    async fn retired_from(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<(String, i64)>, Fault> {
        const SQL: &str = concat!(
            "SELECT t.conversation_id, t.seq_id FROM ",
            given_places!(),
            " STRAIGHT_JOIN retired t ON t.conversation_id = given.conversation_id WHERE t.seq_id >= given.seq_id"
        );
        Ok(sqlx::query_as(SQL).bind(places(conversations, seqs)).fetch_all(self).await?)
    }
}

/// For `given_places`.
fn places(conversations: &[&str], seqs: &[i64]) -> String {
    json::rows(conversations.iter().zip(seqs).map(|(&text, &seq)| [text.into(), seq.into()]))
}
