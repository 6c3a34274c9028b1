//! Writing a batch of messages.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use schemas::ids::MessageId;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::json;
use crate::repo::digest::{Digest, Row};
use crate::repo::multirow::MultiRow;
use crate::repo::sql::fault::Fault;
use crate::repo::sql::rows::RaisedRow;
use crate::repo::sql::session::Session;
use crate::repo::sql::tables::{Batches, UserSeq};

/// A row that is there already is written over with itself, if it is the very message; with NULL, which
/// the column refuses, if it is another. (IGNORE would take errors for warnings, and the number of rows that
/// is reported does not tell a repeat from a new row.)
static INSERT_MESSAGES: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO messages (message_id, conversation_id, seq_id, sender_id, kind, content, client_msg_id, \
         created_at, ordinal, target_seq, remove) VALUES {rows} ON DUPLICATE KEY UPDATE \
         message_id = IF(messages.message_id = VALUES(message_id) AND messages.seq_id = VALUES(seq_id) \
         AND messages.conversation_id = VALUES(conversation_id), messages.message_id, NULL)",
        11,
    )
});

/// What [`Batches::insert_messages`] notes of messages that are about others.
static INSERT_TARGETS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO message_targets (conversation_id, target_seq, seq_id) VALUES {rows} \
         ON DUPLICATE KEY UPDATE seq_id = VALUES(seq_id)",
        3,
    )
});

/// last_seq comes last: an assignment sees what the ones before it have made of the row.
static ADVANCE_CONVERSATIONS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) VALUES {rows} \
         ON DUPLICATE KEY UPDATE \
         last_ordinal = IF(VALUES(last_seq) > last_seq, VALUES(last_ordinal), last_ordinal), \
         newest_seq = IF(VALUES(last_seq) > last_seq, greatest(newest_seq, VALUES(newest_seq)), newest_seq), \
         updated_at = IF(VALUES(last_seq) > last_seq, greatest(updated_at, VALUES(updated_at)), updated_at), \
         last_seq = greatest(last_seq, VALUES(last_seq))",
        5,
    )
});

static ADD_PARTICIPANTS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT INTO user_conversations (user_id, conversation_id, own_seq, joined_seq) VALUES {rows} \
         ON DUPLICATE KEY UPDATE own_seq = greatest(own_seq, VALUES(own_seq))",
        4,
    )
});

/// Rows of a user, a conversation and a seq, as table `given (user_id, conversation_id, seq_id)`.
macro_rules! given_user_seqs {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (user_id BIGINT PATH '$[0]', \
         conversation_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]', \
         seq_id BIGINT PATH '$[2]')) AS given"
    };
}

/// From where those read who have a conversation without joining it: the two of a pair, and whoever speaks in the world.
const FIRST_SEQ: i64 = 1;

/// "Column … cannot be null".
const BAD_NULL: u16 = 1_048;

#[async_trait]
impl Batches for MySqlConnection {
    async fn advance_conversations(&mut self, digest: &Digest<'_>) -> Result<(), Fault> {
        let mut tips: Vec<_> = digest.conversations.iter().filter_map(|c| Some((&*c.text, c.tip?))).collect();
        tips.sort_unstable_by_key(|(text, _)| *text);
        for (sql, tips) in ADVANCE_CONVERSATIONS.statements(&tips) {
            run(self, sql, &ADVANCE_CONVERSATIONS, tips, |values, (text, tip)| {
                values.add(*text)?;
                values.add(tip.last_seq.0)?;
                values.add(tip.last_ordinal)?;
                values.add(tip.newest_seq.0)?;
                values.add(tip.updated_at)
            })
            .await?;
        }
        Ok(())
    }

    async fn insert_messages(&mut self, digest: &Digest<'_>, rows: &[Row<'_>]) -> Result<Option<MessageId>, Fault> {
        for (sql, rows) in INSERT_MESSAGES.statements(rows) {
            match insert(self, sql, digest, rows).await {
                Ok(()) => {}
                Err(sqlx::Error::Database(error)) if is_bad_null(&*error) => {
                    let found = first_missing(self, digest, rows).await?;
                    return found.map(Some).ok_or(sqlx::Error::Database(error).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let about: Vec<_> = rows.iter().filter_map(|row| Some((row, row.message.target_seq?))).collect();
        for (sql, about) in INSERT_TARGETS.statements(&about) {
            run(self, sql, &INSERT_TARGETS, about, |values, (row, target)| {
                values.add(text_of(digest, row))?;
                values.add(target.0)?;
                values.add(row.message.seq_id.0)
            })
            .await?;
        }
        Ok(None)
    }

    async fn add_participants(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        for (sql, rows) in ADD_PARTICIPANTS.statements(rows) {
            run(self, sql, &ADD_PARTICIPANTS, rows, |values, row| {
                values.add(row.user)?;
                values.add(row.conversation)?;
                values.add(row.seq)?;
                values.add(FIRST_SEQ)
            })
            .await?;
        }
        Ok(())
    }

    async fn raise_speakers(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
        const SQL: &str = concat!(
            "UPDATE ",
            given_user_seqs!(),
            " STRAIGHT_JOIN user_conversations uc ON uc.user_id = given.user_id \
             AND uc.conversation_id = given.conversation_id SET uc.own_seq = given.seq_id \
             WHERE uc.own_seq < given.seq_id"
        );
        each(self, SQL, rows).await
    }

    /// What rises is looked for before it does: MySQL tells no rows of an INSERT. A second writer at the same
    /// time may be told the same.
    async fn raise_read_marks(&mut self, rows: &[UserSeq<'_>]) -> Result<Vec<RaisedRow>, Fault> {
        const RISING: &str = concat!(
            "SELECT given.user_id, given.conversation_id, least(given.seq_id, c.last_seq) FROM ",
            given_user_seqs!(),
            " STRAIGHT_JOIN conversations c ON c.conversation_id = given.conversation_id \
             LEFT JOIN read_marks r ON r.user_id = given.user_id AND r.conversation_id = given.conversation_id \
             WHERE c.last_seq > 0 AND least(given.seq_id, c.last_seq) > coalesce(r.seq_id, 0)"
        );
        const SQL: &str = concat!(
            "INSERT INTO read_marks (user_id, conversation_id, seq_id) \
             SELECT given.user_id, given.conversation_id, least(given.seq_id, c.last_seq) FROM ",
            given_user_seqs!(),
            " STRAIGHT_JOIN conversations c ON c.conversation_id = given.conversation_id WHERE c.last_seq > 0 \
             ON DUPLICATE KEY UPDATE seq_id = greatest(read_marks.seq_id, least(given.seq_id, c.last_seq))"
        );
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let rising = sqlx::query_as(RISING).bind(user_seqs(rows)).fetch_all(&mut *self).await?;
        each(self, SQL, rows).await?;
        Ok(rising)
    }
}

async fn insert(
    session: &mut MySqlConnection,
    sql: Arc<str>,
    digest: &Digest<'_>,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    run(session, sql, &INSERT_MESSAGES, rows, |values, row| {
        let m = row.message;
        values.add(m.message_id.0)?;
        values.add(text_of(digest, row))?;
        values.add(m.seq_id.0)?;
        values.add(m.sender_id.0)?;
        values.add(&*digest.kinds[row.kind].1)?;
        values.add(&*m.content)?;
        values.add(&*m.client_msg_id)?;
        values.add(m.created_at)?;
        values.add(m.ordinal)?;
        values.add(m.target_seq.map(|seq| seq.0))?;
        values.add(m.remove)
    })
    .await
}

/// Runs one of the statements over its share of the rows.
async fn run<T>(
    session: &mut MySqlConnection,
    sql: Arc<str>,
    statement: &MultiRow,
    rows: &[T],
    bind: impl Fn(&mut MySqlArguments, &T) -> Result<(), sqlx::error::BoxDynError>,
) -> Result<(), sqlx::Error> {
    let mut values = MySqlArguments::default();
    values.reserve(rows.len() * statement.columns(), 0);
    rows.iter().try_for_each(|row| bind(&mut values, row)).map_err(sqlx::Error::Encode)?;
    sqlx::query_with(AssertSqlSafe(sql), values).execute(session).await?;
    Ok(())
}

fn is_bad_null(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().is_some_and(|e| e.number() == BAD_NULL)
}

/// The first of these rows whose place or id is another's: the statement, which has failed as a whole,
/// does not say.
async fn first_missing(
    session: &mut MySqlConnection,
    digest: &Digest<'_>,
    rows: &[Row<'_>],
) -> Result<Option<MessageId>, Fault> {
    for row in rows {
        let m = row.message;
        let text = text_of(digest, row);
        let held = Session::MySql(session).holders(m.message_id, text, m.seq_id).await?;
        if held.iter().any(|(id, conversation, seq)| (*id, &**conversation, *seq) != (m.message_id.0, text, m.seq_id.0))
        {
            return Ok(Some(m.message_id));
        }
    }
    Ok(None)
}

/// Runs a statement over users, conversations and seqs.
async fn each(session: &mut MySqlConnection, sql: &'static str, rows: &[UserSeq<'_>]) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(sql).bind(user_seqs(rows)).execute(session).await?;
    Ok(())
}

/// For `given_user_seqs`.
fn user_seqs(rows: &[UserSeq<'_>]) -> String {
    json::rows(rows.iter().map(|row| [row.user.into(), row.conversation.into(), row.seq.into()]))
}

fn text_of<'d>(digest: &'d Digest<'_>, row: &Row<'_>) -> &'d str {
    &digest.conversations[row.conversation].text
}
