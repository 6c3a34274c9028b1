//! Writing a batch of messages: an array for each column.

use async_trait::async_trait;
use schemas::ids::MessageId;
use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::repo::digest::{Digest, Row};
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::RaisedRow;
use crate::repo::sql::tables::{Batches, UserSeq};

/// Rows a statement: more save nothing. A row of the longest content makes some 40 MB of them.
const STATEMENT_ROWS_MAX: usize = 4_096;

macro_rules! insert_messages {
    ($or_else:literal) => {
        concat!(
            "INSERT INTO messages (conversation_id, seq_id, message_id, sender_id, kind, content, \
             client_msg_id, created_at, ordinal, target_seq, remove) \
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
             $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[])",
            $or_else
        )
    };
}

/// Fails when one is there already.
const INSERT_NEW: &str = insert_messages!("");

/// Passes over those that are there. Without naming a key: a message id that is taken must not end the
/// transaction before it is known by whom.
const INSERT_MISSING: &str = insert_messages!(" ON CONFLICT DO NOTHING");

#[async_trait]
impl Batches for PgConnection {
    async fn advance_conversations(&mut self, digest: &Digest<'_>) -> Result<(), Fault> {
        let mut tips: Vec<_> = digest.conversations.iter().filter_map(|c| Some((&*c.text, c.tip?))).collect();
        tips.sort_unstable_by_key(|(text, _)| *text);
        for tips in tips.chunks(STATEMENT_ROWS_MAX) {
            // A row that is not changed, since it is further already, is locked all the same.
            sqlx::query(
                "INSERT INTO conversations AS c (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) \
                 SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
                 ON CONFLICT (conversation_id) DO UPDATE SET last_seq = excluded.last_seq, \
                 last_ordinal = excluded.last_ordinal, newest_seq = greatest(c.newest_seq, excluded.newest_seq), \
                 updated_at = greatest(c.updated_at, excluded.updated_at) WHERE excluded.last_seq > c.last_seq",
            )
            .bind(column(tips, |(text, _)| *text))
            .bind(column(tips, |(_, tip)| tip.last_seq.0))
            .bind(column(tips, |(_, tip)| tip.last_ordinal))
            .bind(column(tips, |(_, tip)| tip.newest_seq.0))
            .bind(column(tips, |(_, tip)| tip.updated_at))
            .execute(&mut *self)
            .await?;
        }
        Ok(())
    }

    async fn insert_messages(&mut self, digest: &Digest<'_>, rows: &[Row<'_>]) -> Result<Option<MessageId>, Fault> {
        for rows in rows.chunks(STATEMENT_ROWS_MAX) {
            // Repeats are rare, and to look for one with each row costs a sixth of the time.
            self.execute("SAVEPOINT before_messages").await?;
            match insert(self, INSERT_NEW, digest, rows).await {
                Ok(_) => continue,
                Err(error) if is_unique_violation(&error) => {}
                Err(error) => return Err(error.into()),
            }
            self.execute("ROLLBACK TO SAVEPOINT before_messages").await?;
            if insert(self, INSERT_MISSING, digest, rows).await? < rows.len() as u64
                && let Some(refused) = first_missing(self, digest, rows).await?
            {
                return Ok(Some(refused));
            }
        }
        Ok(None)
    }

    async fn add_participants(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        each(
            self,
            "INSERT INTO user_conversations AS uc (user_id, conversation_id, joined_seq, own_seq) \
             SELECT user_id, conversation_id, 1, seq_id \
             FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS given (user_id, conversation_id, seq_id) \
             ON CONFLICT (user_id, conversation_id) DO UPDATE SET own_seq = excluded.own_seq \
             WHERE excluded.own_seq > uc.own_seq",
            rows,
        )
        .await
    }

    async fn raise_speakers(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        each(
            self,
            "UPDATE user_conversations AS uc SET own_seq = spoke.seq_id \
             FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS spoke (user_id, conversation_id, seq_id) \
             WHERE uc.user_id = spoke.user_id AND uc.conversation_id = spoke.conversation_id \
             AND uc.own_seq < spoke.seq_id",
            rows,
        )
        .await
    }

    async fn raise_read_marks(&mut self, rows: &[UserSeq<'_>]) -> Result<Vec<RaisedRow>, Fault> {
        const SQL: &str = "INSERT INTO read_marks AS r (user_id, conversation_id, seq_id) \
             SELECT given.user_id, given.conversation_id, least(given.seq_id, c.last_seq) \
             FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS given (user_id, conversation_id, seq_id) \
             JOIN conversations c USING (conversation_id) WHERE c.last_seq > 0 \
             ORDER BY given.user_id, given.conversation_id COLLATE \"C\" \
             ON CONFLICT (user_id, conversation_id) DO UPDATE SET seq_id = excluded.seq_id \
             WHERE excluded.seq_id > r.seq_id RETURNING user_id, conversation_id, seq_id";
        let mut raised = Vec::new();
        for rows in rows.chunks(STATEMENT_ROWS_MAX) {
            let upsert = sqlx::query_as(SQL)
                .bind(column(rows, |row| row.user))
                .bind(column(rows, |row| row.conversation))
                .bind(column(rows, |row| row.seq));
            let rose: Vec<RaisedRow> = upsert.fetch_all(&mut *self).await?;
            raised.extend(rose);
        }
        Ok(raised)
    }
}

/// Inserts the rows that are not there, and says how many.
async fn insert(
    session: &mut PgConnection,
    sql: &'static str,
    digest: &Digest<'_>,
    rows: &[Row<'_>],
) -> Result<u64, sqlx::Error> {
    let inserted = sqlx::query(sql)
        .bind(column(rows, |row| text_of(digest, row)))
        .bind(column(rows, |row| row.message.seq_id.0))
        .bind(column(rows, |row| row.message.message_id.0))
        .bind(column(rows, |row| row.message.sender_id.0))
        .bind(column(rows, |row| &*digest.kinds[row.kind].1))
        .bind(column(rows, |row| &*row.message.content))
        .bind(column(rows, |row| &*row.message.client_msg_id))
        .bind(column(rows, |row| row.message.created_at))
        .bind(column(rows, |row| row.message.ordinal))
        .bind(column(rows, |row| row.message.target_seq.map(|seq| seq.0)))
        .bind(column(rows, |row| row.message.remove))
        .execute(session)
        .await?;
    Ok(inserted.rows_affected())
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.is_unique_violation())
}

/// Some rows were there already: each must be the very message. The first that is not.
async fn first_missing(
    session: &mut PgConnection,
    digest: &Digest<'_>,
    rows: &[Row<'_>],
) -> Result<Option<MessageId>, Fault> {
    let missing: Option<(i64,)> = sqlx::query_as(
        "SELECT given.message_id FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) \
         AS given (message_id, conversation_id, seq_id) LEFT JOIN messages m \
         ON m.conversation_id = given.conversation_id AND m.seq_id = given.seq_id \
         AND m.message_id = given.message_id WHERE m.message_id IS NULL LIMIT 1",
    )
    .bind(column(rows, |row| row.message.message_id.0))
    .bind(column(rows, |row| text_of(digest, row)))
    .bind(column(rows, |row| row.message.seq_id.0))
    .fetch_optional(session)
    .await?;
    Ok(missing.map(|(id,)| MessageId(id)))
}

/// Runs a statement over users, conversations and seqs.
async fn each(session: &mut PgConnection, sql: &'static str, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
    for rows in rows.chunks(STATEMENT_ROWS_MAX) {
        sqlx::query(sql)
            .bind(column(rows, |row| row.user))
            .bind(column(rows, |row| row.conversation))
            .bind(column(rows, |row| row.seq))
            .execute(&mut *session)
            .await?;
    }
    Ok(())
}

fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn text_of<'d>(digest: &'d Digest<'_>, row: &Row<'_>) -> &'d str {
    &digest.conversations[row.conversation].text
}
