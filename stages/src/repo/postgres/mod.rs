//! The store in PostgreSQL, 13 or later, with standbys that may be read.
//!
//! What a batch brings goes over as arrays, one for each column, so that a statement is the same
//! whatever the number of rows, and is planned once a connection.

mod batch;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPool};
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::time::timeout;

use super::sql::SqlStore;
use super::sql::dialect::{Dialect, Meaning, explain};
use super::sql::fault::Fault;
use super::sql::migrations::migrator;
use super::sql::pools::Pools;
use super::sql::server::{Access, MIGRATION_TIME_MAX, ServerConfig};
use super::sql::session::Session;
use super::store::StoreError;

/// A [`Store`](super::store::Store) in PostgreSQL.
pub type PostgresStore = SqlStore<Postgres>;

impl PostgresStore {
    /// Connects (`postgres://user:password@host:port/database`) and brings the tables up to date.
    /// Several processes may do so at once. Replicas may be away, and come back later.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server does not answer, and what can't be used.
    pub async fn open(url: &str, replicas: &[String], config: &ServerConfig) -> Result<Arc<Self>, StoreError> {
        let (name, options) = parse(url, config)?;
        let failed = |doing| {
            let name = name.clone();
            move |fault| explain::<Postgres>(&name, doing, fault)
        };
        migrate(&options, config).await.map_err(failed("bring its tables up to date"))?;
        let connect = async |access| config.pool(access).connect_with(with(&options, config, access)).await;
        let writer = connect(Access::ReadWrite).await.map_err(Fault::Sql).map_err(failed("open"))?;
        let reader = connect(Access::ReadOnly).await.map_err(Fault::Sql).map_err(failed("open for reading"))?;
        let mut copies: Vec<(String, PgPool)> = Vec::with_capacity(replicas.len());
        for replica in replicas {
            let (name, options) = parse(replica, config)?;
            let options = with(&options, config, Access::ReadOnly);
            copies.push((name, config.pool(Access::ReadOnly).connect_lazy_with(options)));
        }
        let pools = Pools::apart(writer, reader).with_replicas(copies, config);
        Ok(Self::new(name, pools, config.call_times()))
    }

    /// Connects to what is there, for reading: its tables are taken as they are, and whatever would change
    /// them fails.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server does not answer, and what can't be used.
    pub async fn open_read_only(url: &str, config: &ServerConfig) -> Result<Arc<Self>, StoreError> {
        let config = &config.for_tools();
        let (name, options) = parse(url, config)?;
        let options = with(&options, config, Access::ReadOnly);
        let failed = |fault| explain::<Postgres>(&name, "open for reading", fault);
        // A pool would try again until its time is over, and then not tell why.
        connect(&options, config).await.map_err(failed)?.close().await.map_err(Fault::Sql).map_err(failed)?;
        let pool = config.pool(Access::ReadOnly).connect_with(options).await.map_err(Fault::Sql).map_err(failed)?;
        Ok(Self::new(name, Pools::shared(pool), config.call_times()))
    }
}

/// Its name without the password, and how to connect.
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
        // A process that stands still in a transaction gives its locks back.
        ("idle_in_transaction_session_timeout", config.call_timeout_ms.to_string()),
        ("default_transaction_isolation", "read committed".to_owned()),
        // All is looked up by keys, whatever the values: planned once, not with each call.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
    ]);
    Ok((name, options))
}

/// A session that may do this, and no statement of which takes longer than it may.
fn with(options: &PgConnectOptions, config: &ServerConfig, access: Access) -> PgConnectOptions {
    let options = options.clone().options([("statement_timeout", config.statement_ms(access).to_string())]);
    match access {
        Access::ReadOnly => options.options([("default_transaction_read_only", "on")]),
        Access::ReadWrite => options,
    }
}

/// A connection of its own.
async fn connect(options: &PgConnectOptions, config: &ServerConfig) -> Result<PgConnection, Fault> {
    let patience = Duration::from_millis(config.acquire_timeout_ms);
    Ok(timeout(patience, options.connect()).await.map_err(|_| Fault::Slow(patience))??)
}

/// Under an advisory lock of the database, so that one process does it and the others wait.
async fn migrate(options: &PgConnectOptions, config: &ServerConfig) -> Result<(), Fault> {
    let mut connection = connect(options, config).await?;
    let work = async {
        sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut connection).await?;
        migrator!("postgres").run_direct(None, &mut connection, false).await.map_err(sqlx::Error::from)?;
        Ok::<_, Fault>(())
    };
    timeout(MIGRATION_TIME_MAX, work).await.unwrap_or(Err(Fault::Slow(MIGRATION_TIME_MAX)))?;
    Ok(connection.close().await?)
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn session(connection: &mut PgConnection) -> Session<'_> {
        Session::Postgres(connection)
    }

    fn meaning_of(error: &dyn DatabaseError) -> Meaning {
        meaning_of_sqlstate(error.try_downcast_ref::<PgDatabaseError>().map_or("", PgDatabaseError::code))
    }
}

fn meaning_of_sqlstate(code: &str) -> Meaning {
    match (code.get(..2), code) {
        // A read-only transaction: the server is a standby, or was made one.
        (_, "25006") => Meaning::Transient { reconnect: true },
        // Serialization failure, deadlock, lock timeout, idle in transaction; statement timeout and other
        // cancelled statements.
        (_, "40001" | "40P01" | "55P03" | "25P03" | "57014") => Meaning::PASSES,
        // Shutdown, crash of another session, not yet started.
        (_, "57P01" | "57P02" | "57P03") => Meaning::PASSES,
        // Connection exceptions; out of memory, disk or connections; I/O errors.
        (Some("08" | "53" | "58"), _) => Meaning::PASSES,
        _ => Meaning::Permanent,
    }
}
