//! The outbox: group events that wait to be put on the chain.

use schemas::ids::{ConversationId, UserId};
use schemas::kind::Kind;
use schemas::records::GroupEvent;
use sqlx::sqlite::SqliteConnection;

use super::{Fault, id_list, limit_of, parsed};
use crate::repo::model::{Act, OutboxRow};

pub(super) async fn add(conn: &mut SqliteConnection, kind: &Kind, event: &GroupEvent, act: &Act) -> Result<(), Fault> {
    let content = serde_json::to_string(event).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(
        "INSERT INTO outbox (conversation_id, actor_id, client_msg_id, kind, content, created_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(ConversationId::Group(event.group_id).to_string())
    .bind(act.actor.0)
    .bind(&act.event_id)
    .bind(kind.name())
    .bind(content)
    .bind(act.at)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn oldest(conn: &mut SqliteConnection, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
    type Row = (i64, String, i64, String, String, String, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT outbox_id, conversation_id, actor_id, client_msg_id, kind, content, created_at FROM outbox \
         ORDER BY outbox_id LIMIT ?",
    )
    .bind(limit_of(limit))
    .fetch_all(conn)
    .await?;
    let read = |(id, conversation, actor, client_msg_id, kind, content, created_at): Row| {
        Ok(OutboxRow {
            id,
            conversation_id: parsed(&conversation)?,
            actor: UserId(actor),
            client_msg_id,
            kind: Kind::named(&kind),
            content,
            created_at,
        })
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn published(conn: &mut SqliteConnection, ids: &[i64]) -> Result<(), Fault> {
    sqlx::query("DELETE FROM outbox WHERE outbox_id IN (SELECT value FROM json_each(?))")
        .bind(id_list(ids))
        .execute(conn)
        .await?;
    Ok(())
}
