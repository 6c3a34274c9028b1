//! Pages of messages, as they are now.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use crate::repo::model::{Extent, Message};
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::{MessageRow, Sliced, message_columns, message_of, messages_of};
use crate::repo::sql::tables::{Pages, Slice};

/// A page of conversation `?1` as one JSON value, and its extent: a row goes from SQLite's thread to the caller's
/// alone, each of its values copied, which for a page of rows takes longer than to read it.
macro_rules! select_slice {
    ($rest:literal) => {
        concat!(
            "SELECT coalesce((SELECT seq_id FROM retired WHERE conversation_id = ?1), 0), \
             coalesce((SELECT last_seq FROM conversations WHERE conversation_id = ?1), 0), \
             json_group_array(json_array(NULL, message_id, seq_id, sender_id, kind, content, client_msg_id, \
             created_at, target_seq, remove, edited_at, recalled)) FROM (SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.conversation_id = ?1 AND m.seq_id >= ",
            $rest,
            ")"
        )
    };
}

/// A truth value as SQLite has it: 0 or 1.
#[derive(Clone, Copy, Deserialize)]
struct Flag(u8);

impl From<Flag> for bool {
    fn from(flag: Flag) -> Self {
        flag.0 != 0
    }
}

#[async_trait]
impl Pages for SqliteConnection {
    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault> {
        const SQL: &str = concat!(
            "SELECT m.conversation_id, ",
            message_columns!(),
            " FROM json_each(?1) AS given \
             CROSS JOIN messages m ON m.conversation_id = given.value->>0 AND m.seq_id = given.value->>1"
        );
        let places =
            serde_json::Value::from_iter(conversations.iter().zip(seqs).map(|(&text, &seq)| json!([text, seq])));
        messages_of(sqlx::query_as(SQL).bind(places.to_string()).fetch_all(self).await?)
    }

    async fn slice(&mut self, slice: &Slice) -> Result<Sliced, Fault> {
        const BELOW: &str = select_slice!("?2 AND m.seq_id < ?3 ORDER BY m.seq_id DESC LIMIT ?4");
        const ABOVE: &str = select_slice!("?2 AND m.seq_id > ?3 ORDER BY m.seq_id LIMIT ?4");
        let (sql, edge) = slice.choose(BELOW, ABOVE);
        let text = slice.conversation.to_string();
        let query = sqlx::query_as(sql).bind(text).bind(slice.first.0).bind(edge).bind(slice.limit);
        let (retired, last, rows): (i64, i64, String) = query.fetch_one(self).await?;
        let rows: Vec<MessageRow<(), Flag>> =
            serde_json::from_str(&rows).map_err(|error| Fault::Unreadable(format!("messages ({error})")))?;
        let messages = rows.into_iter().map(|row| message_of(slice.conversation, row)).collect();
        Ok(Sliced { messages, extent: Some(Extent::behind(retired, last)) })
    }
}
