//! The store in MariaDB (10.6 or later) or MySQL (8.0 or later), with replicas that may be read.
//!
//! Messages are written by statements of many rows. Everything else that comes in a list goes over as one
//! JSON value, which `JSON_TABLE` turns into rows: the statement is the same whatever their number.

mod batch;
mod json;
mod messages;
mod removals;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, Executor, MySql};

use super::sql::SqlStore;
use super::sql::dialect::{Dialect, ErrorClass};
use super::sql::fault::Fault;
use super::sql::migrations::migrator;
use super::sql::open::Server;
use super::sql::server::{Access, MIGRATION_TIME_MAX, ServerConfig};
use super::sql::session::Session;
use super::store::{Opening, Store, StoreError};

/// A [`Store`](super::store::Store) in MariaDB or MySQL.
pub type MySqlStore = SqlStore<MySql>;

impl MySqlStore {
    /// Connects (`mysql://user:password@host:port/database`) and brings the tables up to date. Several processes may
    /// do so at once. A replica that does not answer is used once it does.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server does not answer; [`StoreError::Failed`] when it can't be used.
    pub fn open<'a>(url: &'a str, replicas: &'a [String], config: &'a ServerConfig) -> Opening<'a> {
        async move { Ok(Self::connect(url, replicas, config).await? as Arc<dyn Store>) }.boxed()
    }

    /// Connects for reading. The tables are taken as they are, and every change fails.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn open_read_only<'a>(url: &'a str, config: &'a ServerConfig) -> Opening<'a> {
        async move { Ok(Self::connect_read_only(url, config).await? as Arc<dyn Store>) }.boxed()
    }
}

/// Statements kept prepared, a connection: the multi-row ones in all sizes and all others.
const PREPARED_STATEMENTS_MAX: usize = 128;

impl Server for MySql {
    fn parse(url: &str, _: &ServerConfig) -> Result<(String, MySqlConnectOptions), StoreError> {
        let options: MySqlConnectOptions = url.parse().map_err(|error| StoreError::Failed {
            store: "the MariaDB or MySQL of repo.store".into(),
            doing: "understand its address, mysql://user:password@host:port/database",
            source: Box::<sqlx::Error>::from(error),
        })?;
        let database = options.get_database().unwrap_or_default();
        let name = format!("MariaDB or MySQL at {}:{}/{database}", options.get_host(), options.get_port());
        let options = options.charset("utf8mb4").collation("utf8mb4_bin");
        Ok((name, options.statement_cache_capacity(PREPARED_STATEMENTS_MAX)))
    }

    fn pool(
        options: MySqlConnectOptions,
        config: &ServerConfig,
        access: Access,
    ) -> (PoolOptions<MySql>, MySqlConnectOptions) {
        let config = config.clone();
        let pool = config.pool(access).after_connect(move |connection, _| {
            let config = config.clone();
            Box::pin(async move { prepare_session(connection, &config, access).await })
        });
        (pool, options)
    }

    /// Under a lock of the server. The migrator's own lock would wait without end, for which it gives a timeout that
    /// MariaDB refuses.
    async fn migrate(connection: &mut MySqlConnection) -> Result<(), Fault> {
        let locked: (Option<i64>,) =
            sqlx::query_as("SELECT GET_LOCK(left(concat('gochat migrations ', sha1(database())), 64), ?)")
                .bind(i64::try_from(MIGRATION_TIME_MAX.as_secs()).unwrap_or(i64::MAX))
                .fetch_one(&mut *connection)
                .await?;
        if locked.0 != Some(1) {
            return Err(Fault::Slow(MIGRATION_TIME_MAX));
        }
        let mut migrator = migrator!("mysql");
        migrator.set_locking(false);
        Ok(migrator.run_direct(None, connection, false).await.map_err(sqlx::Error::from)?)
    }
}

/// What a server may have set otherwise. Strict, so that nothing is ever cut short to fit. READ COMMITTED,
/// so that a statement sees what others have committed while it waited for their locks, and locks no gaps.
async fn prepare_session(
    connection: &mut MySqlConnection,
    config: &ServerConfig,
    access: Access,
) -> Result<(), sqlx::Error> {
    let lock_timeout_s = config.lock_timeout_ms.div_ceil(1_000).max(1);
    let sql = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', \
         SESSION innodb_lock_wait_timeout = {lock_timeout_s}"
    );
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    match access {
        Access::ReadWrite => {}
        Access::ReadOnly => {
            connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
        }
    }
    let (version,): (String,) = sqlx::query_as("SELECT version()").fetch_one(&mut *connection).await?;
    let sql = if version.contains("MariaDB") {
        format!(
            "SET SESSION max_statement_time = {:.3}",
            Duration::from_millis(config.statement_ms(access)).as_secs_f64()
        )
    } else {
        // MySQL bounds reads so; its writes are bounded by the locks they wait for, and by the call.
        format!("SET SESSION max_execution_time = {}", config.statement_ms(access))
    };
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}

impl Dialect for MySql {
    const BEGIN: &'static str = "BEGIN";

    fn session(connection: &mut MySqlConnection) -> Session<'_> {
        Session::MySql(connection)
    }

    fn class_of(error: &dyn DatabaseError) -> ErrorClass {
        class_of_number(error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number))
    }
}

/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>,
/// <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>
fn class_of_number(number: u16) -> ErrorClass {
    match number {
        // Read only: the server is a replica, or was made one.
        1290 | 1792 | 1836 => ErrorClass::Retry { reconnect: true },
        // Disk full; out of memory; too many connections, in all and of this user; resources used up; table full.
        1021 | 1037 | 1040 | 1041 | 1114 | 1203 | 1226 => ErrorClass::RETRY,
        // Shutdown; connections lost and killed; a statement interrupted, or too long (MariaDB, MySQL).
        1053 | 1152 | 1158..=1161 | 1317 | 1927 | 1969 | 3024 => ErrorClass::RETRY,
        // Waited too long for a lock; deadlock; changed since it was read.
        1205 | 1213 | 1020 => ErrorClass::RETRY,
        _ => ErrorClass::Fatal,
    }
}
