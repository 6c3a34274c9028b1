//! What a store is measured against: the rows of a batch into the same tables, by the database's best
//! statements of many rows and in one transaction, and the newest rows back. No rule is looked after:
//! nothing is a repeat, nobody edits, nothing is held against anything.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};
use stages::repo::digest::{Digest, Row, Tip};
use stages::repo::multirow::MultiRow;

/// What a batch comes to, summed up and sorted before any clock runs.
#[derive(Debug)]
pub struct Rows<'d> {
    messages: Vec<MessageRow<'d>>,
    conversations: Vec<(Arc<str>, Tip)>,
    speakers: Vec<(i64, Arc<str>, i64)>,
}

#[derive(Debug)]
struct MessageRow<'d> {
    conversation: Arc<str>,
    kind: Arc<str>,
    row: Row<'d>,
}

impl<'d> Rows<'d> {
    /// In the order of each table's key, as it is written fastest.
    pub fn of(digest: &Digest<'d>) -> Self {
        let text = |conversation: usize| Arc::clone(&digest.conversations[conversation].text);
        let message = |row: &Row<'d>| MessageRow {
            conversation: text(row.conversation),
            kind: Arc::clone(&digest.kinds[row.kind].1),
            row: *row,
        };
        let mut messages: Vec<_> = digest.rows.iter().map(message).collect();
        messages.sort_unstable_by(|a, b| {
            a.conversation.cmp(&b.conversation).then(a.row.message.seq_id.cmp(&b.row.message.seq_id))
        });
        let mut conversations: Vec<_> =
            digest.conversations.iter().filter_map(|c| Some((Arc::clone(&c.text), c.tip?))).collect();
        conversations.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let speaker = |(&(user, conversation), seq): (&(_, usize), _)| {
            let (user, seq): (schemas::ids::UserId, &schemas::ids::Seq) = (user, seq);
            (user.0, text(conversation), seq.0)
        };
        let mut speakers: Vec<_> = digest.participants.iter().map(speaker).collect();
        speakers.sort_unstable();
        Self { messages, conversations, speakers }
    }
}

/// A connection that writes and reads so.
#[async_trait]
pub trait BareSql: Send {
    /// Writes a batch, in one transaction.
    ///
    /// # Errors
    /// The database's.
    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), sqlx::Error>;

    /// The newest so many contents of a conversation.
    ///
    /// # Errors
    /// The database's.
    async fn newest(&mut self, conversation: &str, limit: i64) -> Result<Vec<String>, sqlx::Error>;
}

/// A connection to a SQLite file that has the tables, used as these options say.
///
/// # Errors
/// The database's.
pub async fn sqlite(options: &SqliteConnectOptions) -> Result<Box<dyn BareSql>, sqlx::Error> {
    Ok(Box::new(OfValues { connection: options.connect().await?, statements: Statements::new(SQLITE) }))
}

/// A connection to a server's database that has the tables: `postgres://…`, else MariaDB or MySQL.
///
/// # Errors
/// The database's.
pub async fn server(url: &str) -> Result<Box<dyn BareSql>, sqlx::Error> {
    if url.starts_with("postgres") {
        let options: PgConnectOptions = url.parse()?;
        return Ok(Box::new(OfArrays(options.connect().await?)));
    }
    let options: MySqlConnectOptions = url.parse()?;
    let options = options.charset("utf8mb4").collation("utf8mb4_bin");
    Ok(Box::new(OfValues { connection: options.connect().await?, statements: Statements::new(MYSQL) }))
}

/// What a dialect says where a row is there already, of `conversations` and of `user_conversations`.
#[derive(Clone, Copy)]
struct Upserts {
    conversations: &'static str,
    speakers: &'static str,
}

const SQLITE: Upserts = Upserts {
    conversations: "ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq, last_ordinal = excluded.last_ordinal, \
                    newest_seq = excluded.newest_seq, updated_at = excluded.updated_at",
    speakers: "ON CONFLICT DO UPDATE SET own_seq = excluded.own_seq",
};
const MYSQL: Upserts = Upserts {
    conversations: "ON DUPLICATE KEY UPDATE last_seq = VALUES(last_seq), last_ordinal = VALUES(last_ordinal), \
                    newest_seq = VALUES(newest_seq), updated_at = VALUES(updated_at)",
    speakers: "ON DUPLICATE KEY UPDATE own_seq = VALUES(own_seq)",
};

/// Lists of rows as values.
struct OfValues<C> {
    connection: C,
    statements: Statements,
}

struct Statements {
    messages: MultiRow,
    conversations: MultiRow,
    speakers: MultiRow,
}

impl Statements {
    fn new(upserts: Upserts) -> Self {
        let conversations = "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, \
                             updated_at) VALUES {rows} ";
        let speakers = "INSERT INTO user_conversations (user_id, conversation_id, own_seq, joined_seq) VALUES {rows} ";
        Self {
            messages: MultiRow::new(
                "INSERT INTO messages (conversation_id, seq_id, message_id, sender_id, kind, content, client_msg_id, \
                 created_at, ordinal, target_seq, remove) VALUES {rows}",
                11,
            ),
            conversations: MultiRow::new(&[conversations, upserts.conversations].concat(), 5),
            speakers: MultiRow::new(&[speakers, upserts.speakers].concat(), 4),
        }
    }
}

/// The same for SQLite and MySQL, whose connections are of different types.
macro_rules! of_values {
    ($connection:ty) => {
        #[async_trait]
        impl BareSql for OfValues<$connection> {
            async fn write(&mut self, rows: &Rows<'_>) -> Result<(), sqlx::Error> {
                let mut transaction = self.connection.begin().await?;
                for (sql, rows) in self.statements.messages.statements(&rows.messages) {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for MessageRow { conversation, kind, row: Row { message: m, .. } } in rows {
                        query = query.bind(Arc::clone(conversation)).bind(m.seq_id.0).bind(m.message_id.0);
                        query = query.bind(m.sender_id.0).bind(Arc::clone(kind)).bind(Arc::<str>::from(&*m.content));
                        query = query.bind(Arc::<str>::from(&*m.client_msg_id)).bind(m.created_at).bind(m.ordinal);
                        query = query.bind(m.target_seq.map(|seq| seq.0)).bind(m.remove);
                    }
                    query.execute(&mut *transaction).await?;
                }
                for (sql, rows) in self.statements.conversations.statements(&rows.conversations) {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for (conversation, tip) in rows {
                        query = query.bind(Arc::clone(conversation)).bind(tip.last_seq.0).bind(tip.last_ordinal);
                        query = query.bind(tip.newest_seq.0).bind(tip.updated_at);
                    }
                    query.execute(&mut *transaction).await?;
                }
                for (sql, rows) in self.statements.speakers.statements(&rows.speakers) {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for (user, conversation, seq) in rows {
                        query = query.bind(*user).bind(Arc::clone(conversation)).bind(*seq).bind(1_i64);
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await
            }

            async fn newest(&mut self, conversation: &str, limit: i64) -> Result<Vec<String>, sqlx::Error> {
                let sql = "SELECT content FROM messages WHERE conversation_id = ? ORDER BY seq_id DESC LIMIT ?";
                let rows = sqlx::query(sql).bind(conversation).bind(limit).fetch_all(&mut self.connection).await?;
                rows.iter().map(|row| row.try_get(0)).collect()
            }
        }
    };
}

of_values!(SqliteConnection);
of_values!(MySqlConnection);

/// Rows as an array for each column: PostgreSQL.
struct OfArrays(PgConnection);

#[async_trait]
impl BareSql for OfArrays {
    async fn write(&mut self, rows: &Rows<'_>) -> Result<(), sqlx::Error> {
        let mut transaction = self.0.begin().await?;
        let messages = &rows.messages;
        sqlx::query(
            "INSERT INTO messages (conversation_id, seq_id, message_id, sender_id, kind, content, client_msg_id, \
             created_at, ordinal, target_seq, remove) SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], \
             $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], \
             $11::boolean[])",
        )
        .bind(column(messages, |m| &*m.conversation))
        .bind(column(messages, |m| m.row.message.seq_id.0))
        .bind(column(messages, |m| m.row.message.message_id.0))
        .bind(column(messages, |m| m.row.message.sender_id.0))
        .bind(column(messages, |m| &*m.kind))
        .bind(column(messages, |m| &*m.row.message.content))
        .bind(column(messages, |m| &*m.row.message.client_msg_id))
        .bind(column(messages, |m| m.row.message.created_at))
        .bind(column(messages, |m| m.row.message.ordinal))
        .bind(column(messages, |m| m.row.message.target_seq.map(|seq| seq.0)))
        .bind(column(messages, |m| m.row.message.remove))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO conversations (conversation_id, last_seq, last_ordinal, newest_seq, updated_at) \
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
             ON CONFLICT (conversation_id) DO UPDATE SET last_seq = excluded.last_seq, \
             last_ordinal = excluded.last_ordinal, newest_seq = excluded.newest_seq, updated_at = excluded.updated_at",
        )
        .bind(column(&rows.conversations, |(text, _)| &**text))
        .bind(column(&rows.conversations, |(_, tip)| tip.last_seq.0))
        .bind(column(&rows.conversations, |(_, tip)| tip.last_ordinal))
        .bind(column(&rows.conversations, |(_, tip)| tip.newest_seq.0))
        .bind(column(&rows.conversations, |(_, tip)| tip.updated_at))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO user_conversations (user_id, conversation_id, own_seq, joined_seq) \
             SELECT user_id, conversation_id, own_seq, 1 FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) \
             AS spoke (user_id, conversation_id, own_seq) \
             ON CONFLICT (user_id, conversation_id) DO UPDATE SET own_seq = excluded.own_seq",
        )
        .bind(column(&rows.speakers, |(user, _, _)| *user))
        .bind(column(&rows.speakers, |(_, text, _)| &**text))
        .bind(column(&rows.speakers, |(_, _, seq)| *seq))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn newest(&mut self, conversation: &str, limit: i64) -> Result<Vec<String>, sqlx::Error> {
        let sql = "SELECT content FROM messages WHERE conversation_id = $1 ORDER BY seq_id DESC LIMIT $2";
        let rows = sqlx::query(sql).bind(conversation).bind(limit).fetch_all(&mut self.0).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }
}

fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
