//! The store in PostgreSQL, 13 or later, with standbys that may be read.
//!
//! What a batch brings goes over as arrays, one for each column, so that a statement is the same
//! whatever the number of rows, and is planned once a connection.

mod batch;
mod messages;
mod removals;

use std::sync::Arc;

use futures::FutureExt;
use sqlx::Postgres;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};

use super::sql::SqlStore;
use super::sql::dialect::{Dialect, ErrorClass};
use super::sql::fault::Fault;
use super::sql::migrations::migrator;
use super::sql::open::Server;
use super::sql::server::{Access, ServerConfig};
use super::sql::session::Session;
use super::store::{Opening, Store, StoreError};

/// A [`Store`](super::store::Store) in PostgreSQL.
pub type PostgresStore = SqlStore<Postgres>;

impl PostgresStore {
    /// Connects (`postgres://user:password@host:port/database`) and brings the tables up to date. Several processes may
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

impl Server for Postgres {
    fn parse(url: &str, config: &ServerConfig) -> Result<(String, PgConnectOptions), StoreError> {
        let options: PgConnectOptions = url.parse().map_err(|error| StoreError::Failed {
            store: "the PostgreSQL of repo.store".into(),
            doing: "understand its address, postgres://user:password@host:port/database",
            source: Box::<sqlx::Error>::from(error),
        })?;
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let name = format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port());
        let options = options.application_name("gochat").options([
            ("lock_timeout", config.lock_timeout_ms.to_string()),
            // A process that hangs in a transaction loses its locks.
            ("idle_in_transaction_session_timeout", config.call_timeout_ms.to_string()),
            ("default_transaction_isolation", "read committed".to_owned()),
            // All is looked up by keys, whatever the values: planned once, not with each call.
            ("plan_cache_mode", "force_generic_plan".to_owned()),
        ]);
        Ok((name, options))
    }

    fn pool(
        options: PgConnectOptions,
        config: &ServerConfig,
        access: Access,
    ) -> (PoolOptions<Postgres>, PgConnectOptions) {
        let options = options.options([("statement_timeout", config.statement_ms(access).to_string())]);
        let options = match access {
            Access::ReadOnly => options.options([("default_transaction_read_only", "on")]),
            Access::ReadWrite => options,
        };
        (config.pool(access), options)
    }

    /// Under an advisory lock of the database.
    async fn migrate(connection: &mut PgConnection) -> Result<(), Fault> {
        sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut *connection).await?;
        Ok(migrator!("postgres").run_direct(None, connection, false).await.map_err(sqlx::Error::from)?)
    }
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn session(connection: &mut PgConnection) -> Session<'_> {
        Session::Postgres(connection)
    }

    fn class_of(error: &dyn DatabaseError) -> ErrorClass {
        class_of_sqlstate(error.try_downcast_ref::<PgDatabaseError>().map_or("", PgDatabaseError::code))
    }
}

fn class_of_sqlstate(code: &str) -> ErrorClass {
    match (code.get(..2), code) {
        // A read-only transaction: the server is a standby, or was made one.
        (_, "25006") => ErrorClass::Retry { reconnect: true },
        // Serialization failure, deadlock, lock timeout, idle in transaction; statement timeout and other
        // cancelled statements.
        (_, "40001" | "40P01" | "55P03" | "25P03" | "57014") => ErrorClass::RETRY,
        // Shutdown, crash of another session, not yet started.
        (_, "57P01" | "57P02" | "57P03") => ErrorClass::RETRY,
        // Connection exceptions; out of memory, disk or connections; I/O errors.
        (Some("08" | "53" | "58"), _) => ErrorClass::RETRY,
        _ => ErrorClass::Fatal,
    }
}
