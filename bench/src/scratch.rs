//! A database of a benchmark's own on somebody's server: made beside the one that was named, and dropped
//! with the value, whatever ended the benchmark.

use std::io::Write;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;

/// How long the server may take to drop it.
const DROP_TIME_MAX: Duration = Duration::from_secs(30);

/// A database that is dropped with this value, which has to happen on a runtime of several threads.
#[derive(Debug)]
pub struct Scratch {
    server: Server,
    database: String,
}

#[derive(Debug)]
enum Server {
    MySql(MySqlConnectOptions),
    Postgres(PgConnectOptions),
}

impl Scratch {
    /// A database beside the one of this address, `mysql://…`, `mariadb://…` or `postgres://…`, by the same
    /// user, who has to have the right to make one.
    ///
    /// # Errors
    /// The server's.
    pub async fn create(url: &str) -> Result<Self, sqlx::Error> {
        let server =
            if url.starts_with("postgres") { Server::Postgres(url.parse()?) } else { Server::MySql(url.parse()?) };
        let database = format!("gochat_bench_{}", std::process::id());
        server.execute(format!("CREATE DATABASE {database}")).await?;
        Ok(Self { server, database })
    }

    /// Its address, with the password.
    pub fn url(&self) -> String {
        match &self.server {
            Server::MySql(options) => options.clone().database(&self.database).to_url_lossy().into(),
            Server::Postgres(options) => options.clone().database(&self.database).to_url_lossy().into(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let sql = match &self.server {
            Server::MySql(_) => format!("DROP DATABASE {}", self.database),
            // Connections of the store may not all have ended yet.
            Server::Postgres(_) => format!("DROP DATABASE {} WITH (FORCE)", self.database),
        };
        let dropped = block_in_place(|| Handle::current().block_on(timeout(DROP_TIME_MAX, self.server.execute(sql))));
        let failure = match dropped {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(slow) => slow.to_string(),
        };
        // A drop can't fail, whether somebody reads this or not.
        let _ = writeln!(
            std::io::stderr(),
            "the database {} could not be dropped, do it by hand: {failure}",
            self.database
        );
    }
}

impl Server {
    async fn execute(&self, sql: String) -> Result<(), sqlx::Error> {
        match self {
            Self::MySql(options) => {
                let mut connection = options.connect().await?;
                connection.execute(AssertSqlSafe(sql)).await?;
                connection.close().await
            }
            Self::Postgres(options) => {
                let mut connection = options.connect().await?;
                connection.execute(AssertSqlSafe(sql)).await?;
                connection.close().await
            }
        }
    }
}
