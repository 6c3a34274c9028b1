//! The values that a statement over many rows binds.

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use crate::repo::multirow::MultiRow;

/// Runs it over all rows and returns how many were changed.
pub(super) async fn run<T>(
    statement: &MultiRow,
    conn: &mut SqliteConnection,
    rows: &[T],
    bind: impl Fn(&mut Values, &T),
) -> Result<u64, sqlx::Error> {
    let mut changed = 0;
    for (sql, rows) in statement.statements(rows) {
        let values = values(statement, rows, &bind)?;
        changed += sqlx::query_with(AssertSqlSafe(sql), values).execute(&mut *conn).await?.rows_affected();
    }
    Ok(changed)
}

/// Runs a query over all rows and returns every row of its answers, decoded.
pub(super) async fn all<T, O>(
    statement: &MultiRow,
    conn: &mut SqliteConnection,
    rows: &[T],
    bind: impl Fn(&mut Values, &T),
) -> Result<Vec<O>, sqlx::Error>
where
    O: Send + Unpin + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
{
    let mut answers = Vec::new();
    for (sql, given) in statement.statements(rows) {
        let values = values(statement, given, &bind)?;
        let rows: Vec<O> = sqlx::query_as_with(AssertSqlSafe(sql), values).fetch_all(&mut *conn).await?;
        answers.extend(rows);
    }
    Ok(answers)
}

fn values<T>(
    statement: &MultiRow,
    rows: &[T],
    bind: &impl Fn(&mut Values, &T),
) -> Result<SqliteArguments, sqlx::Error> {
    let mut values = Values::default();
    values.arguments.reserve(rows.len() * statement.columns(), 0);
    for row in rows {
        bind(&mut values, row);
    }
    debug_assert_eq!(values.arguments.len(), rows.len() * statement.columns(), "each row binds its columns");
    match values.error {
        Some(error) => Err(sqlx::Error::Encode(error)),
        None => Ok(values.arguments),
    }
}

/// The values of a statement, in order.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    error: Option<sqlx::error::BoxDynError>,
}

impl Values {
    /// Adds one. A failure is kept until the statement is run.
    pub(super) fn add<'t, T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(
        &mut self,
        value: T,
    ) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error);
        }
        self
    }
}
