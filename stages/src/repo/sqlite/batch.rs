//! Writing a batch of messages: a dozen or two statements, whatever the number of messages.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use schemas::ids::{MessageId, Seq, UserId};
use schemas::kind::EventClass;
use schemas::records::Sequenced;
use sqlx::sqlite::SqliteConnection;

use super::Fault;
use super::multirow::MultiRow;
use crate::repo::digest::{Digest, Row};
use crate::repo::store::StoreError;

static INSERT_MESSAGES: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO messages (message_id, conversation_id, seq_id, sender_id, kind, content, client_msg_id, \
         created_at, ordinal, target_seq, remove) VALUES {rows} ON CONFLICT DO NOTHING",
        11,
    )
});

/// Finds a row that was not written and is not there either.
static FIND_MISSING: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "WITH given (message_id, conversation_id, seq_id) AS (VALUES {rows}) \
         SELECT given.message_id FROM given LEFT JOIN messages m ON m.message_id = given.message_id \
         AND m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id \
         WHERE m.message_id IS NULL LIMIT 1",
        3,
    )
});

static UPSERT_CONVERSATIONS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) VALUES {rows} \
         ON CONFLICT (conversation_id) DO UPDATE SET last_seq = excluded.last_seq, \
         last_ordinal = excluded.last_ordinal, newest_seq = max(newest_seq, excluded.newest_seq), \
         updated_at = max(updated_at, excluded.updated_at) WHERE excluded.last_seq > last_seq",
        5,
    )
});

static UPSERT_PARTICIPANTS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO user_conversations (user_id, conversation_id, joined_seq, own_seq) \
         SELECT column1, column2, 1, column3 FROM (VALUES {rows}) WHERE true \
         ON CONFLICT (user_id, conversation_id) DO UPDATE SET own_seq = excluded.own_seq \
         WHERE excluded.own_seq > own_seq",
        3,
    )
});

/// Updates only: who has left the group meanwhile does not get it back by an old message.
static UPDATE_GROUP_SPEAKERS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "WITH spoke (user_id, conversation_id, seq_id) AS (VALUES {rows}) \
         UPDATE user_conversations SET own_seq = spoke.seq_id FROM spoke \
         WHERE user_conversations.user_id = spoke.user_id \
         AND user_conversations.conversation_id = spoke.conversation_id AND own_seq < spoke.seq_id",
        3,
    )
});

/// Nobody has read what is not there: a mark beyond the last seq is taken for the last seq.
static UPSERT_READ_MARKS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO read_marks (user_id, conversation_id, seq_id) \
         SELECT column1, column2, min(column3, c.last_seq) FROM (VALUES {rows}) \
         JOIN conversations c ON c.conversation_id = column2 WHERE c.last_seq > 0 \
         ON CONFLICT (user_id, conversation_id) DO UPDATE SET seq_id = excluded.seq_id \
         WHERE excluded.seq_id > read_marks.seq_id",
        3,
    )
});

/// Writes a batch on a connection with an open transaction.
pub(super) async fn write(conn: &mut SqliteConnection, batch: &[&Sequenced]) -> Result<(), Fault> {
    let digest = Digest::of(batch)?;
    insert_messages(conn, &digest).await?;
    for change in &digest.changes {
        apply_change(conn, change, &digest).await?;
    }
    let tips: Vec<_> = digest.conversations.iter().filter_map(|c| Some((&c.text, c.tip?))).collect();
    UPSERT_CONVERSATIONS
        .run(conn, &tips, |values, (text, tip)| {
            values.add(Arc::clone(text)).add(tip.last_seq.0).add(tip.last_ordinal);
            values.add(tip.newest_seq.0).add(tip.updated_at);
        })
        .await?;
    run_seqs(&UPSERT_PARTICIPANTS, conn, &digest.participants, &digest).await?;
    run_seqs(&UPDATE_GROUP_SPEAKERS, conn, &digest.group_speakers, &digest).await?;
    run_seqs(&UPSERT_READ_MARKS, conn, &digest.read_marks, &digest).await?;
    Ok(())
}

async fn insert_messages(conn: &mut SqliteConnection, digest: &Digest<'_>) -> Result<(), Fault> {
    let inserted = INSERT_MESSAGES
        .run(conn, &digest.rows, |values, row| {
            let m = row.message;
            values.add(m.message_id.0).add(text_of(digest, row)).add(m.seq_id.0).add(m.sender_id.0);
            values.add(Arc::clone(&digest.kinds[row.kind].1)).add(Arc::<str>::from(&*m.content));
            values.add(Arc::<str>::from(&*m.client_msg_id)).add(m.created_at).add(m.ordinal);
            values.add(m.target_seq.map(|seq| seq.0)).add(m.remove);
        })
        .await?;
    if inserted == digest.rows.len() as u64 { Ok(()) } else { check_repeats(conn, digest).await }
}

/// Some rows were there already: each must be the very message.
async fn check_repeats(conn: &mut SqliteConnection, digest: &Digest<'_>) -> Result<(), Fault> {
    let missing: Option<(i64,)> = FIND_MISSING
        .first(conn, &digest.rows, |values, row| {
            values.add(row.message.message_id.0).add(text_of(digest, row)).add(row.message.seq_id.0);
        })
        .await?;
    let Some((id,)) = missing else { return Ok(()) };
    let refused = digest.rows.iter().find(|row| row.message.message_id == MessageId(id));
    let row = refused.ok_or(Fault::Unreadable(format!("message {id} where none was asked for")))?;
    let stored: Vec<(i64, String, i64)> = sqlx::query_as(
        "SELECT message_id, conversation_id, seq_id FROM messages \
         WHERE message_id = ? OR (conversation_id = ? AND seq_id = ?)",
    )
    .bind(id)
    .bind(text_of(digest, row))
    .bind(row.message.seq_id.0)
    .fetch_all(conn)
    .await?;
    let stored: Vec<_> = stored.iter().map(|(id, text, seq)| format!("message {id} ({text} seq {seq})")).collect();
    Err(Fault::Store(StoreError::IdentityTaken {
        conversation: row.message.conversation_id,
        seq: row.message.seq_id,
        given: row.message.message_id,
        stored: stored.join(" and "),
    }))
}

/// Changes the target of an edit or recall: an earlier message of the same sender, forward only.
async fn apply_change(conn: &mut SqliteConnection, change: &Row<'_>, digest: &Digest<'_>) -> Result<(), Fault> {
    let m = change.message;
    let Some(target) = m.target_seq.filter(|&target| target < m.seq_id) else { return Ok(()) };
    let sql = match m.kind.class() {
        EventClass::Edit => {
            "UPDATE messages SET content = ?1, edited_at = ?2, changed_seq = ?3 WHERE conversation_id = ?4 \
             AND seq_id = ?5 AND sender_id = ?6 AND kind IN ('text', 'image', 'file') \
             AND recalled = 0 AND changed_seq < ?3"
        }
        EventClass::Recall => {
            "UPDATE messages SET content = '', recalled = 1, changed_seq = ?3 WHERE conversation_id = ?4 \
             AND seq_id = ?5 AND sender_id = ?6 AND kind IN ('text', 'image', 'file') AND recalled = 0"
        }
        EventClass::Message | EventClass::Reaction | EventClass::System => return Ok(()),
    };
    sqlx::query(sql)
        .bind(Arc::<str>::from(&*m.content))
        .bind(m.created_at)
        .bind(m.seq_id.0)
        .bind(text_of(digest, change))
        .bind(target.0)
        .bind(m.sender_id.0)
        .execute(conn)
        .await?;
    Ok(())
}

async fn run_seqs(
    statement: &MultiRow,
    conn: &mut SqliteConnection,
    seqs: &BTreeMap<(UserId, usize), Seq>,
    digest: &Digest<'_>,
) -> Result<(), Fault> {
    let rows: Vec<_> = seqs.iter().collect();
    let bind = |values: &mut super::multirow::Values, (key, seq): &(&(UserId, usize), &Seq)| {
        values.add(key.0.0).add(Arc::clone(&digest.conversations[key.1].text)).add(seq.0);
    };
    statement.run(conn, &rows, bind).await?;
    Ok(())
}

fn text_of(digest: &Digest<'_>, row: &Row<'_>) -> Arc<str> {
    Arc::clone(&digest.conversations[row.conversation].text)
}
