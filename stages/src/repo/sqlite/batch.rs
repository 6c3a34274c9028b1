//! Writing a batch of messages: a dozen or two statements, whatever the number of messages.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use schemas::ids::MessageId;
use sqlx::sqlite::SqliteConnection;

use super::values::{Values, all, run};
use crate::repo::digest::{Digest, Row};
use crate::repo::multirow::MultiRow;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::RaisedRow;
use crate::repo::sql::tables::{Batches, UserSeq};

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
         WHERE excluded.seq_id > read_marks.seq_id RETURNING user_id, conversation_id, seq_id",
        3,
    )
});

#[async_trait]
impl Batches for SqliteConnection {
    async fn advance_conversations(&mut self, digest: &Digest<'_>) -> Result<(), Fault> {
        let tips: Vec<_> = digest.conversations.iter().filter_map(|c| Some((&c.text, c.tip?))).collect();
        run(&UPSERT_CONVERSATIONS, self, &tips, |values, (text, tip)| {
            values.add(Arc::clone(text)).add(tip.last_seq.0).add(tip.last_ordinal);
            values.add(tip.newest_seq.0).add(tip.updated_at);
        })
        .await?;
        Ok(())
    }

    async fn insert_messages(&mut self, digest: &Digest<'_>, rows: &[Row<'_>]) -> Result<Option<MessageId>, Fault> {
        let inserted = run(&INSERT_MESSAGES, self, rows, |values, row| {
            let m = row.message;
            values.add(m.message_id.0).add(text_of(digest, row)).add(m.seq_id.0).add(m.sender_id.0);
            values.add(Arc::clone(&digest.kinds[row.kind].1)).add(Arc::<str>::from(&*m.content));
            values.add(Arc::<str>::from(&*m.client_msg_id)).add(m.created_at).add(m.ordinal);
            values.add(m.target_seq.map(|seq| seq.0)).add(m.remove);
        })
        .await?;
        if inserted == rows.len() as u64 {
            return Ok(None);
        }
        // Some rows were there already: each must be the very message.
        let missing: Vec<(i64,)> = all(&FIND_MISSING, self, rows, |values, row| {
            values.add(row.message.message_id.0).add(text_of(digest, row)).add(row.message.seq_id.0);
        })
        .await?;
        Ok(missing.first().map(|&(id,)| MessageId(id)))
    }

    async fn add_participants(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        each(&UPSERT_PARTICIPANTS, self, rows).await
    }

    async fn raise_speakers(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        each(&UPDATE_GROUP_SPEAKERS, self, rows).await
    }

    async fn raise_read_marks(&mut self, rows: &[UserSeq<'_>]) -> Result<Vec<RaisedRow>, Fault> {
        Ok(all(&UPSERT_READ_MARKS, self, rows, bind).await?)
    }
}

/// Runs a statement over users, conversations and seqs.
async fn each(statement: &MultiRow, session: &mut SqliteConnection, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
    run(statement, session, rows, bind).await?;
    Ok(())
}

fn bind(values: &mut Values, row: &UserSeq<'_>) {
    values.add(row.user).add(Arc::<str>::from(row.conversation)).add(row.seq);
}

fn text_of(digest: &Digest<'_>, row: &Row<'_>) -> Arc<str> {
    Arc::clone(&digest.conversations[row.conversation].text)
}
