//! Reading messages: as they are now.

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use sqlx::sqlite::SqliteConnection;

use super::{Fault, limit_of, parsed};
use crate::repo::model::{HistoryPage, HistoryRange, Message};

/// Columns of a message. What an edit said is withheld as soon as its target is recalled.
macro_rules! select_messages {
    ($($rest:literal),*) => {
        concat!(
            "SELECT m.conversation_id, m.message_id, m.seq_id, m.sender_id, m.kind, \
             CASE WHEN edited.recalled THEN '' ELSE m.content END, m.client_msg_id, m.created_at, m.target_seq, \
             m.remove, m.edited_at, m.recalled \
             FROM messages m LEFT JOIN messages edited ON m.kind = 'edit' AND m.sender_id = edited.sender_id \
             AND edited.conversation_id = m.conversation_id AND edited.seq_id = m.target_seq ",
            $($rest),*
        )
    };
}
pub(super) use select_messages;

type MessageRow = (String, i64, i64, i64, String, String, String, i64, Option<i64>, bool, Option<i64>, bool);

/// The messages of a query made by [`select_messages`].
pub(super) fn message_of(row: MessageRow) -> Result<Message, Fault> {
    let (
        conversation,
        message,
        seq,
        sender,
        kind,
        content,
        client_msg_id,
        created_at,
        target,
        remove,
        edited,
        recalled,
    ) = row;
    Ok(Message {
        conversation_id: parsed(&conversation)?,
        message_id: MessageId(message),
        seq_id: Seq(seq),
        sender_id: UserId(sender),
        kind: Kind::named(&kind),
        content,
        client_msg_id,
        created_at,
        target_seq: target.map(Seq),
        remove,
        edited_at: edited,
        recalled,
    })
}

pub(super) async fn by_ids(conn: &mut SqliteConnection, ids: &[MessageId]) -> Result<Vec<Message>, Fault> {
    let mut messages = Vec::with_capacity(ids.len());
    for id in ids {
        let row =
            sqlx::query_as(select_messages!("WHERE m.message_id = ?")).bind(id.0).fetch_optional(&mut *conn).await?;
        messages.extend(row.map(message_of).transpose()?);
    }
    Ok(messages)
}

pub(super) async fn at(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
    seq: Seq,
) -> Result<Option<Message>, Fault> {
    let row = sqlx::query_as(select_messages!("WHERE m.conversation_id = ? AND m.seq_id = ?"))
        .bind(conversation.to_string())
        .bind(seq.0)
        .fetch_optional(conn)
        .await?;
    row.map(message_of).transpose()
}

pub(super) async fn scan(conn: &mut SqliteConnection, after: MessageId, limit: usize) -> Result<Vec<Message>, Fault> {
    let rows: Vec<MessageRow> =
        sqlx::query_as(select_messages!("WHERE m.message_id > ? ORDER BY m.message_id LIMIT ?"))
            .bind(after.0)
            .bind(limit_of(limit))
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(message_of).collect()
}

/// The newest seq of a conversation, or 0.
pub(super) async fn head(conn: &mut SqliteConnection, conversation: ConversationId) -> Result<Seq, Fault> {
    let last: Option<(i64,)> = sqlx::query_as("SELECT last_seq FROM conversations WHERE conversation_id = ?")
        .bind(conversation.to_string())
        .fetch_optional(conn)
        .await?;
    Ok(Seq(last.map_or(0, |(seq,)| seq)))
}

/// A page of at most `limit`. One more is read, to see whether there are more.
pub(super) async fn history(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
    range: HistoryRange,
    first: Seq,
    limit: usize,
) -> Result<HistoryPage, Fault> {
    let text = conversation.to_string();
    // The last seq before the page: what comes between both is in the page, never missing from it.
    let last = head(conn, conversation).await?;
    const NEWEST: &str = select_messages!(
        "WHERE m.conversation_id = ? AND m.seq_id >= ? AND m.seq_id < ? ORDER BY m.seq_id DESC LIMIT ?"
    );
    const OLDEST: &str =
        select_messages!("WHERE m.conversation_id = ? AND m.seq_id >= ? AND m.seq_id > ? ORDER BY m.seq_id LIMIT ?");
    let (sql, edge) = match range {
        HistoryRange::Newest => (NEWEST, i64::MAX),
        HistoryRange::Before(seq) => (NEWEST, seq.0),
        HistoryRange::After(seq) => (OLDEST, seq.0),
    };
    let rows: Vec<MessageRow> = sqlx::query_as(sql)
        .bind(&text)
        .bind(first.0)
        .bind(edge)
        .bind(limit_of(limit).saturating_add(1))
        .fetch_all(conn)
        .await?;
    let has_more = rows.len() > limit;
    let mut messages = rows.into_iter().take(limit).map(message_of).collect::<Result<Vec<_>, _>>()?;
    match range {
        HistoryRange::Newest | HistoryRange::Before(_) => messages.reverse(),
        HistoryRange::After(_) => {}
    }
    let newest = messages.last().map_or(Seq(0), |message| message.seq_id);
    Ok(HistoryPage { messages, has_more, last_seq: newest.max(last) })
}
