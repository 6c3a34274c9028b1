//! Stores on real servers: on those that are there for all tests, each test with a database of its
//! own, which goes when it is dropped; and on servers of a test's own, which it may kill.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use stages::repo::ServerConfig;
use stages::repo::mysql::MySqlStore;
use stages::repo::postgres::PostgresStore;
use stages::repo::store::{Store, StoreError};
use tempfile::TempDir;
use tokio::process::Command;

use crate::ports::Ports;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    MariaDb,
    Postgres,
}

impl Kind {
    /// As the scripts call it.
    pub fn service(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::Postgres => "postgres",
        }
    }

    /// The server that is there for all tests.
    fn shared_url(self) -> String {
        let name = format!("GOCHAT_TEST_{}", self.service().to_uppercase());
        #[expect(clippy::disallowed_methods, reason = "tests are told so where the servers are")]
        std::env::var(&name).unwrap_or_else(|_| {
            panic!(
                "{name} is not set: run tests/run.sh, or start a server with deployment/scripts/start-infra.sh \
                 --services {0} --dir DIR and set it to what is in DIR/{0}.endpoints",
                self.service()
            )
        })
    }

    pub async fn open(
        self,
        url: &str,
        replicas: &[String],
        config: &ServerConfig,
    ) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::MariaDb => MySqlStore::open(url, replicas, config).await?,
            Self::Postgres => PostgresStore::open(url, replicas, config).await?,
        })
    }

    pub async fn open_read_only(self, url: &str) -> Result<Arc<dyn Store>, StoreError> {
        let config = ServerConfig::default();
        Ok(match self {
            Self::MariaDb => MySqlStore::open_read_only(url, &config).await?,
            Self::Postgres => PostgresStore::open_read_only(url, &config).await?,
        })
    }

    /// Runs a statement on a connection of its own.
    pub async fn execute(self, url: &str, sql: String) -> Result<(), sqlx::Error> {
        match self {
            Self::MariaDb => MySqlConnection::connect(url).await?.execute(AssertSqlSafe(sql)).await.map(drop),
            Self::Postgres => PgConnection::connect(url).await?.execute(AssertSqlSafe(sql)).await.map(drop),
        }
    }
}

/// A database of a test's own.
pub struct Database {
    pub kind: Kind,
    pub url: String,
    server: String,
    name: String,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// An empty one on the server of all tests.
    pub async fn new(kind: Kind) -> Self {
        Self::on(kind, kind.shared_url()).await
    }

    /// An empty one on this server.
    pub async fn on(kind: Kind, server: String) -> Self {
        let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let base = server.rsplit_once('/').unwrap().0;
        // In PostgreSQL a schema, which is made in a tenth of the time.
        let (sql, url) = match kind {
            Kind::MariaDb => (format!("CREATE DATABASE {name}"), format!("{base}/{name}")),
            Kind::Postgres => (format!("CREATE SCHEMA {name}"), format!("{server}?options[search_path]={name}")),
        };
        kind.execute(&server, sql).await.unwrap();
        Self { kind, url, server, name }
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        self.open_with(&[], &ServerConfig::default()).await
    }

    pub async fn open_with(&self, replicas: &[String], config: &ServerConfig) -> Arc<dyn Store> {
        self.kind.open(&self.url, replicas, config).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (kind, server) = (self.kind, self.server.clone());
        let sql = match kind {
            Kind::MariaDb => format!("DROP DATABASE {}", self.name),
            Kind::Postgres => format!("DROP SCHEMA {} CASCADE", self.name),
        };
        // Also when the test failed, so not in its runtime. A server that is gone has nothing to drop.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(kind.execute(&server, sql));
        });
        let _ = dropping.join();
    }
}

/// A store in a database of its own.
pub struct DatabaseStore {
    pub store: Arc<dyn Store>,
    _database: Database,
}

pub async fn mariadb_store() -> DatabaseStore {
    let database = Database::new(Kind::MariaDb).await;
    DatabaseStore { store: database.open().await, _database: database }
}

pub async fn postgres_store() -> DatabaseStore {
    let database = Database::new(Kind::Postgres).await;
    DatabaseStore { store: database.open().await, _database: database }
}

/// A server of a test's own, started and stopped by the project's scripts.
pub struct OwnServer {
    pub kind: Kind,
    dir: TempDir,
    ports: Ports,
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deployment/scripts").join(name)
}

impl OwnServer {
    pub async fn start(kind: Kind) -> Self {
        let server = Self { kind, dir: tempfile::tempdir().unwrap(), ports: Ports::reserve() };
        server.start_again().await;
        server
    }

    /// Starts what is down.
    pub async fn start_again(&self) {
        let started = Command::new(script("start-infra.sh"))
            .args([
                "--native",
                "--services",
                self.kind.service(),
                "--port-base",
                &self.ports.base().to_string(),
                "--dir",
            ])
            .arg(self.infra())
            .status()
            .await
            .unwrap();
        assert!(started.success(), "the server starts");
    }

    /// Sends a signal to one of its servers: the service, or `postgres_standby`.
    pub async fn signal(&self, name: &str, signal: &str) {
        self.signal_pid(self.pid(name), signal).await;
    }

    /// Sends a signal to a process.
    pub async fn signal_pid(&self, pid: u32, signal: &str) {
        let told = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().await.unwrap();
        assert!(told.success());
    }

    /// The service's process, and those that it has started: PostgreSQL has one a connection.
    pub fn processes(&self) -> Vec<u32> {
        let pid = self.pid(self.kind.service());
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        std::iter::once(pid).chain(children.split_whitespace().map(|child| child.parse().unwrap())).collect()
    }

    fn pid(&self, name: &str) -> u32 {
        let pid_file = self.infra().join(name).join("pid");
        let pid = std::fs::read_to_string(&pid_file).unwrap_or_else(|e| panic!("{}: {e}", pid_file.display()));
        pid.trim().parse().unwrap()
    }

    /// Where a process answers.
    pub fn url(&self, name: &str) -> String {
        std::fs::read_to_string(self.infra().join(format!("{name}.endpoints"))).unwrap().trim().to_owned()
    }

    fn infra(&self) -> PathBuf {
        self.dir.path().join("infra")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = std::process::Command::new(script("cleanup.sh")).arg("--dir").arg(self.infra()).status();
    }
}
