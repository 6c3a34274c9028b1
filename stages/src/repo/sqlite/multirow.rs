//! Statements over many rows, in a few fixed sizes, so that each is parsed once a connection.

use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

/// Rows a statement. A thousand rows take 13 statements; the largest binds 5,632 values of SQLite's
/// 32,766.
const SIZES: [usize; 4] = [512, 64, 8, 1];

/// One statement for each of the sizes.
pub(super) struct MultiRow {
    statements: [Arc<str>; SIZES.len()],
    columns: usize,
}

impl MultiRow {
    /// A statement with `{rows}` where the list of rows belongs, each of so many columns.
    pub(super) fn new(sql: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let statement = |rows| Arc::from(sql.replace("{rows}", &vec![row.as_str(); rows].join(",")));
        Self { statements: SIZES.map(statement), columns }
    }

    /// Runs it over all rows and returns how many were changed.
    pub(super) async fn run<T>(
        &self,
        conn: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Values, &T),
    ) -> Result<u64, sqlx::Error> {
        let mut changed = 0;
        while let Some((sql, size)) = self.next(rows.len()) {
            let (now, later) = rows.split_at(size);
            rows = later;
            let values = self.values(now, &bind)?;
            changed += sqlx::query_with(AssertSqlSafe(sql), values).execute(&mut *conn).await?.rows_affected();
        }
        Ok(changed)
    }

    /// Runs a query over all rows and returns the first row of the first answer, decoded.
    pub(super) async fn first<T, O>(
        &self,
        conn: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Values, &T),
    ) -> Result<Option<O>, sqlx::Error>
    where
        O: Send + Unpin + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>,
    {
        while let Some((sql, size)) = self.next(rows.len()) {
            let (now, later) = rows.split_at(size);
            rows = later;
            let values = self.values(now, &bind)?;
            let answer = sqlx::query_as_with(AssertSqlSafe(sql), values).fetch_optional(&mut *conn).await?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }

    fn next(&self, left: usize) -> Option<(Arc<str>, usize)> {
        let at = SIZES.iter().position(|&size| size <= left)?;
        Some((self.statements[at].clone(), SIZES[at]))
    }

    fn values<T>(&self, rows: &[T], bind: &impl Fn(&mut Values, &T)) -> Result<SqliteArguments, sqlx::Error> {
        let mut values = Values::default();
        values.arguments.reserve(rows.len() * self.columns, 0);
        for row in rows {
            bind(&mut values, row);
        }
        debug_assert_eq!(values.arguments.len(), rows.len() * self.columns, "each row binds its columns");
        match values.error {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok(values.arguments),
        }
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
