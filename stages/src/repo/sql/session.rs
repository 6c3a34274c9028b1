//! A connection of any dialect, with or without an open transaction, and how a [`Statement`] runs on it.
//!
//! What is asked of the tables is written as methods of [`Session`] in the files beside this one. A method
//! named `lock_…` holds its row until the transaction ends. Locks are taken in one order, so that writers
//! wait for each other but never in a circle: a user; or a group, then conversations by the bytes of
//! their id, then everything in a conversation.

use schemas::ids::{GroupId, UserId};
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, FromRow};

use super::statement::Statement;
use super::tables::{Batches, Pages, Removals};

/// A connection of any dialect.
#[derive(Debug)]
pub enum Session<'c> {
    Sqlite(&'c mut SqliteConnection),
    MySql(&'c mut MySqlConnection),
    Postgres(&'c mut PgConnection),
}

/// A value that a statement binds.
#[derive(Debug, Clone, Copy)]
pub enum Value<'v> {
    Int(i64),
    Text(&'v str),
    TextOrNull(Option<&'v str>),
    Bytes(&'v [u8]),
    /// What a name or an email address is found by: in small letters. MySQL has it as bytes, since it compares
    /// text without the blanks at its end.
    Key(&'v str),
    Ids(&'v [i64]),
}

macro_rules! value_from {
    ($($from:ty, $value:ident => $to:expr;)*) => {
        $(impl From<$from> for Value<'_> {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

value_from! {
    i64, value => Self::Int(value);
    i32, value => Self::Int(value.into());
    UserId, value => Self::Int(value.0);
    GroupId, value => Self::Int(value.0);
}

macro_rules! value_of {
    ($($from:ty, $variant:ident;)*) => {
        $(impl<'v> From<$from> for Value<'v> {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

value_of! {
    &'v str, Text;
    &'v String, Text;
    Option<&'v str>, TextOrNull;
    &'v [u8; 32], Bytes;
    &'v [i64], Ids;
}

/// Values of a statement, in the order of their numbers.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::repo::sql::session::Value::from($value)),*]
    };
}
pub(super) use values;

/// A row that every dialect can give.
pub trait Row:
    Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, PgRow>
{
}

impl<R> Row for R where
    R: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + for<'r> FromRow<'r, PgRow>
{
}

/// Runs a query, made by the named function of sqlx from a statement and its values, in the session's dialect.
macro_rules! in_dialect {
    ($session:ident, $sql:ident, $values:ident, $make:ident, |$query:ident, $connection:ident| $run:expr) => {
        match $session {
            Self::Sqlite(connection) => {
                let ($query, $connection) = (sqlx::$make($sql.in_sqlite(), in_sqlite($values)?), &mut **connection);
                $run
            }
            Self::MySql(connection) => {
                let (text, values) = in_mysql($sql, $values)?;
                let ($query, $connection) = (sqlx::$make(text, values), &mut **connection);
                $run
            }
            Self::Postgres(connection) => {
                let ($query, $connection) = (sqlx::$make($sql.in_postgres(), in_postgres($values)?), &mut **connection);
                $run
            }
        }
    };
}

impl Session<'_> {
    /// Runs a statement, and says how many rows it changed.
    pub(super) async fn run(&mut self, sql: &'static Statement, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        in_dialect!(self, sql, values, query_with, |query, connection| {
            query.execute(connection).await.map(|done| done.rows_affected())
        })
    }

    /// Inserts a row, and says whether it did; not when one of its keys is taken.
    pub(super) async fn insert(&mut self, sql: &'static Statement, values: &[Value<'_>]) -> Result<bool, sqlx::Error> {
        match self.run(sql, values).await {
            Ok(rows) => Ok(rows == 1),
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn rows<R: Row>(
        &mut self,
        sql: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<R>, sqlx::Error> {
        in_dialect!(self, sql, values, query_as_with, |query, connection| query.fetch_all(connection).await)
    }

    pub(super) async fn row<R: Row>(
        &mut self,
        sql: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Option<R>, sqlx::Error> {
        in_dialect!(self, sql, values, query_as_with, |query, connection| query.fetch_optional(connection).await)
    }

    /// The statements of a batch of messages.
    pub(super) fn batches(&mut self) -> &mut dyn Batches {
        match self {
            Self::Sqlite(c) => &mut **c,
            Self::MySql(c) => &mut **c,
            Self::Postgres(c) => &mut **c,
        }
    }

    /// The statements that remove messages.
    pub(super) fn removals(&mut self) -> &mut dyn Removals {
        match self {
            Self::Sqlite(c) => &mut **c,
            Self::MySql(c) => &mut **c,
            Self::Postgres(c) => &mut **c,
        }
    }

    /// The statements of pages of messages.
    pub(super) fn pages(&mut self) -> &mut dyn Pages {
        match self {
            Self::Sqlite(c) => &mut **c,
            Self::MySql(c) => &mut **c,
            Self::Postgres(c) => &mut **c,
        }
    }
}

/// Values as a dialect's arguments, with what it makes of a key and of a list of ids.
macro_rules! arguments {
    ($arguments:ty, $values:expr, $key:expr, $ids:expr) => {{
        let mut arguments = <$arguments>::default();
        for value in $values {
            let added = match *value {
                Value::Int(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::TextOrNull(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
                Value::Key(value) => arguments.add($key(value)),
                Value::Ids(value) => arguments.add($ids(value)),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        arguments
    }};
}

fn in_sqlite(values: &[Value<'_>]) -> Result<SqliteArguments, sqlx::Error> {
    Ok(arguments!(SqliteArguments, values, std::convert::identity, json))
}

fn in_mysql(sql: &'static Statement, values: &[Value<'_>]) -> Result<(&'static str, MySqlArguments), sqlx::Error> {
    let (text, order) = sql.in_mysql();
    let values = order.iter().map(|&index| &values[index]);
    Ok((text, arguments!(MySqlArguments, values, str::as_bytes, json)))
}

fn in_postgres(values: &[Value<'_>]) -> Result<PgArguments, sqlx::Error> {
    Ok(arguments!(PgArguments, values, std::convert::identity, std::convert::identity))
}

/// A list of ids as one value: a statement stays the same whatever its length.
fn json(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}
