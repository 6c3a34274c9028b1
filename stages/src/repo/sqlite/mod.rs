//! The store in one SQLite file: the default, with no service to install.
//!
//! One connection writes (SQLite has one writer at a time; waiting for it in a pool is fairer than
//! its busy handler), several read beside it in WAL mode. A commit is on disk when it returns
//! (`synchronous=FULL`).

mod batch;
mod conversations;
mod groups;
mod members;
mod messages;
mod multirow;
mod outbox;
mod tokens;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemas::error::Refusal;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::Sequenced;
use sqlx::Connection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Group, GroupChange, HistoryPage, HistoryRange, Member,
    Membership, Message, NewGroup, NewToken, OutboxRow, ReadMark, Rotation, SignIn, Standing, TokenHash, User,
    UserPatch,
};
use super::store::{Store, StoreError};

/// How the file is used.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteConfig {
    /// Connections that read.
    pub reader_connections: u32,
    /// How long a call waits for a connection before it fails as unavailable, in ms.
    pub acquire_timeout_ms: u64,
    /// How long SQLite waits for a lock that another process holds, in ms.
    pub busy_timeout_ms: u64,
    /// Memory for pages, a connection, in KiB.
    pub page_cache_kib: u32,
    /// Pages of 4 KiB that the write-ahead log takes before they are moved into the file.
    pub wal_checkpoint_pages: u32,
    /// Pages of 4 KiB that the file may grow to; over it nothing is written, as on a full disk. `None`: the
    /// disk's.
    pub file_pages_max: Option<u32>,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            reader_connections: 4,
            acquire_timeout_ms: 5_000,
            busy_timeout_ms: 5_000,
            page_cache_kib: 32 * 1_024,
            wal_checkpoint_pages: 16_384,
            file_pages_max: None,
        }
    }
}

/// Statements kept prepared, a connection: the multi-row ones in all sizes and all others.
const PREPARED_STATEMENTS_MAX: usize = 256;

/// A [`Store`] in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    name: String,
}

/// What can go wrong on a connection, before it is known what it was used for.
#[derive(Debug)]
enum Fault {
    Sql(sqlx::Error),
    Refused(Refusal),
    Unreadable(String),
    Store(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SqliteStore {
    /// Opens the file, makes it when it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is no SQLite database or of a newer version.
    pub async fn open(path: &Path, config: SqliteConfig) -> Result<Arc<Self>, StoreError> {
        let name = path.display().to_string();
        let explain = |doing| {
            let name = name.clone();
            move |error| explain(&name, doing, error)
        };
        let options = options(path, &config);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .after_release(|connection, _| Box::pin(is_out_of_transactions(connection)))
        };
        let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(explain("open"))?;
        let migrated = sqlx::migrate!("migrations/sqlite").run(&writer).await;
        migrated.map_err(|error| explain("bring its tables up to date")(sqlx::Error::from(error)))?;
        let readers = pool()
            .max_connections(config.reader_connections.max(1))
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(explain("open for reading"))?;
        Ok(Arc::new(Self { writer, readers, name }))
    }

    /// Opens a file that is there for reading, beside the process that writes it or without one. Whatever
    /// would change it fails; its tables are taken as they are.
    ///
    /// # Errors
    /// When the file is not there, or is no SQLite database.
    pub async fn open_read_only(path: &Path, config: SqliteConfig) -> Result<Arc<Self>, StoreError> {
        let name = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
            .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
            .pragma("cache_size", format!("-{}", config.page_cache_kib));
        let readers = SqlitePoolOptions::new()
            .max_connections(config.reader_connections.max(1))
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            .connect_with(options)
            .await
            .map_err(|error| explain(&name, "open for reading", error))?;
        Ok(Arc::new(Self { writer: readers.clone(), readers, name }))
    }

    /// Closes the file once calls under way are done.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn explain(&self, doing: &'static str, fault: Fault) -> StoreError {
        match fault {
            Fault::Sql(error) => explain(&self.name, doing, error),
            Fault::Refused(refusal) => StoreError::Refused(refusal),
            Fault::Unreadable(what) => StoreError::Unreadable { store: self.name.clone(), what },
            Fault::Store(error) => error,
        }
    }
}

/// Whether a connection can be used again. Where SQLite rolls a transaction back by itself, as on a full
/// disk (<https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction>), sqlx goes
/// on counting it and could never begin another one.
async fn is_out_of_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind the rollback that a dropped transaction has queued.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn options(path: &Path, config: &SqliteConfig) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
        .foreign_keys(true)
        .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
        .pragma("cache_size", format!("-{}", config.page_cache_kib))
        .pragma("wal_autocheckpoint", config.wal_checkpoint_pages.to_string());
    match config.file_pages_max {
        Some(pages) => options.pragma("max_page_count", pages.to_string()),
        None => options,
    }
}

/// Busy, out of memory, interrupted, disk I/O, disk full, locked, can't open: all may pass.
/// <https://www.sqlite.org/rescode.html>
const PASSING_RESULT_CODES: [i64; 7] = [5, 6, 7, 9, 10, 13, 14];

fn explain(store: &str, doing: &'static str, error: sqlx::Error) -> StoreError {
    let store = store.to_owned();
    let passing = match &error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(e) => {
            let extended: Option<i64> = e.code().and_then(|code| code.parse().ok());
            extended.is_some_and(|code| PASSING_RESULT_CODES.contains(&(code & 0xff)))
        }
        _ => false,
    };
    if passing {
        StoreError::Unavailable { store, doing, source: error.into() }
    } else {
        StoreError::Failed { store, doing, source: error.into() }
    }
}

/// One transaction on the connection that writes. Dropped half-way it is rolled back.
macro_rules! writing {
    ($self:ident, $doing:literal, $conn:ident => $work:expr) => {{
        let run = async {
            let mut transaction = $self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let $conn: &mut SqliteConnection = &mut transaction;
            let done = $work.await?;
            transaction.commit().await?;
            Ok::<_, Fault>(done)
        };
        run.await.map_err(|fault| $self.explain($doing, fault))
    }};
}

/// Statements on a connection that reads, each seeing the newest commit.
macro_rules! reading {
    ($self:ident, $doing:literal, $conn:ident => $work:expr) => {{
        let run = async {
            let mut connection = $self.readers.acquire().await?;
            let $conn: &mut SqliteConnection = &mut connection;
            $work.await
        };
        run.await.map_err(|fault: Fault| $self.explain($doing, fault))
    }};
}

#[async_trait]
impl Store for SqliteStore {
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<(), StoreError> {
        writing!(self, "write a batch of messages", conn => batch::write(conn, batch))
    }

    async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", conn => messages::by_ids(conn, ids))
    }

    async fn message_at(&self, conversation: ConversationId, seq: Seq) -> Result<Option<Message>, StoreError> {
        reading!(self, "read a message", conn => messages::at(conn, conversation, seq))
    }

    async fn scan(&self, after: MessageId, limit: usize) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", conn => messages::scan(conn, after, limit))
    }

    async fn history(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        reading!(self, "read a history", conn => messages::history(conn, conversation, range, first, limit))
    }

    async fn head(&self, conversation: ConversationId) -> Result<Seq, StoreError> {
        reading!(self, "read the head of a conversation", conn => messages::head(conn, conversation))
    }

    async fn conversations(
        &self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ConversationView>, StoreError> {
        reading!(self, "list conversations", conn => conversations::list(conn, user, after, limit))
    }

    async fn heads(&self, user: UserId, since: i64, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError> {
        reading!(self, "list heads", conn => conversations::heads(conn, user, since, limit))
    }

    async fn standing(&self, conversation: ConversationId, user: UserId) -> Result<Option<Standing>, StoreError> {
        reading!(self, "judge a user's rights", conn => conversations::standing(conn, conversation, user))
    }

    async fn read_marks(&self, conversation: ConversationId) -> Result<Vec<ReadMark>, StoreError> {
        reading!(self, "read read marks", conn => conversations::read_marks(conn, conversation))
    }

    async fn newest_id(&self, below: i64) -> Result<i64, StoreError> {
        reading!(self, "look for the newest id", conn => users::newest_id(conn, below))
    }

    async fn create_user(&self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError> {
        writing!(self, "create a user", conn => users::create(conn, user, password_hash))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        reading!(self, "read a user", conn => users::by_id(conn, id))
    }

    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, StoreError> {
        reading!(self, "read a user", conn => users::by_name(conn, username))
    }

    async fn update_user(&self, id: UserId, patch: &UserPatch) -> Result<Option<User>, StoreError> {
        writing!(self, "update a user", conn => users::update(conn, id, patch))
    }

    async fn start_family(&self, user: UserId, family: i64, token: NewToken, now: i64) -> Result<(), StoreError> {
        writing!(self, "keep a refresh token", conn => tokens::start(conn, user, family, token, now))
    }

    async fn rotate_token(&self, used: TokenHash, next: NewToken, now: i64) -> Result<Rotation, StoreError> {
        writing!(self, "rotate a refresh token", conn => tokens::rotate(conn, used, next, now))
    }

    async fn revoke_family(&self, token: TokenHash) -> Result<(), StoreError> {
        writing!(self, "revoke a refresh token", conn => tokens::revoke(conn, token))
    }

    async fn sign_in(&self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, StoreError> {
        reading!(self, "look at a sign-in", conn => tokens::sign_in(conn, user, family, now))
    }

    async fn create_group(&self, group: &NewGroup, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "create a group", conn => groups::create(conn, group, act))
    }

    async fn change_group(&self, group: GroupId, change: &GroupChange, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "change a group", conn => groups::change(conn, group, change, act))
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        reading!(self, "read a group", conn => groups::by_id(conn, id))
    }

    async fn members(&self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", conn => members::page(conn, group, after, limit))
    }

    async fn members_among(&self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", conn => members::among(conn, group, users))
    }

    async fn membership(&self, group: GroupId) -> Result<Option<Membership>, StoreError> {
        reading!(self, "read a membership", conn => members::all(conn, group))
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        reading!(self, "read the outbox", conn => outbox::oldest(conn, limit))
    }

    async fn outbox_published(&self, ids: &[i64]) -> Result<(), StoreError> {
        writing!(self, "mark group events as published", conn => outbox::published(conn, ids))
    }
}

/// Reads back an id or name that was stored as text.
fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::Unreadable(format!("{text:?} where another form is expected")))
}

/// A limit as SQL takes it.
fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A list of ids as one value, for `json_each`: the statement stays the same whatever its length.
fn id_list<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    let ids: Vec<_> = ids.into_iter().map(i64::to_string).collect();
    format!("[{}]", ids.join(","))
}
