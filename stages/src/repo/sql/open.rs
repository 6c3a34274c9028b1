//! Opening a store on a database server: the same for PostgreSQL, MariaDB and MySQL.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::time::timeout;

use super::dialect::{Dialect, explain};
use super::fault::Fault;
use super::pools::Pools;
use super::server::{Access, MIGRATION_TIME_MAX, ServerConfig};
use super::store::SqlStore;
use crate::repo::store::StoreError;

/// How a connection is made.
pub type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// A database on a server.
pub trait Server: Dialect {
    /// Reads an address: the name of the database without the password, and how to connect.
    fn parse(url: &str, config: &ServerConfig) -> Result<(String, Options<Self>), StoreError>;

    /// Makes a pool whose sessions have this access, and whose statements the server ends in time.
    fn pool(options: Options<Self>, config: &ServerConfig, access: Access) -> (PoolOptions<Self>, Options<Self>);

    /// Brings the tables up to date while other processes wait.
    fn migrate(connection: &mut Self::Connection) -> impl Future<Output = Result<(), Fault>> + Send;
}

impl<DB: Server> SqlStore<DB> {
    /// Connects, and brings the tables up to date.
    pub(crate) async fn connect(
        url: &str,
        replicas: &[String],
        config: &ServerConfig,
    ) -> Result<Arc<Self>, StoreError> {
        let (name, options) = DB::parse(url, config)?;
        let failed = |doing| {
            let name = name.clone();
            move |fault| explain::<DB>(&name, doing, fault)
        };
        migrate::<DB>(&options, config).await.map_err(failed("bring its tables up to date"))?;
        let writer = connect_pool::<DB>(&options, config, Access::ReadWrite).await.map_err(failed("open"))?;
        let reader =
            connect_pool::<DB>(&options, config, Access::ReadOnly).await.map_err(failed("open for reading"))?;
        let mut copies = Vec::with_capacity(replicas.len());
        for replica in replicas {
            let (name, options) = DB::parse(replica, config)?;
            let (pool, options) = DB::pool(options, config, Access::ReadOnly);
            copies.push((name, pool.connect_lazy_with(options)));
        }
        let pools = Pools::apart(writer, reader).with_replicas(copies, config);
        Ok(Self::new(name, pools, config.call_times()))
    }

    /// Connects for reading.
    pub(crate) async fn connect_read_only(url: &str, config: &ServerConfig) -> Result<Arc<Self>, StoreError> {
        let config = &config.for_tools();
        let (name, options) = DB::parse(url, config)?;
        let failed = |fault| explain::<DB>(&name, "open for reading", fault);
        // A pool would try again until its time is over, and then not tell why.
        connect::<DB>(&options, config).await.map_err(failed)?.close().await.map_err(Fault::Sql).map_err(failed)?;
        let pool = connect_pool::<DB>(&options, config, Access::ReadOnly).await.map_err(failed)?;
        Ok(Self::new(name, Pools::shared(pool), config.call_times()))
    }
}

async fn connect_pool<DB: Server>(
    options: &Options<DB>,
    config: &ServerConfig,
    access: Access,
) -> Result<Pool<DB>, Fault> {
    let (pool, options) = DB::pool(options.clone(), config, access);
    Ok(pool.connect_with(options).await?)
}

/// A connection outside of any pool.
async fn connect<DB: Server>(options: &Options<DB>, config: &ServerConfig) -> Result<DB::Connection, Fault> {
    let limit = Duration::from_millis(config.acquire_timeout_ms);
    Ok(timeout(limit, options.connect()).await.map_err(|_| Fault::Slow(limit))??)
}

async fn migrate<DB: Server>(options: &Options<DB>, config: &ServerConfig) -> Result<(), Fault> {
    let mut connection = connect::<DB>(options, config).await?;
    let migrated = timeout(MIGRATION_TIME_MAX, DB::migrate(&mut connection)).await;
    migrated.unwrap_or(Err(Fault::Slow(MIGRATION_TIME_MAX)))?;
    // A lock that the migration took ends with the connection.
    Ok(connection.close().await?)
}
