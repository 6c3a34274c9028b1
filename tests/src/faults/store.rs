//! Where an installation keeps its users, groups and messages, as far as a fault can get at it: a SQLite
//! file, or a real server of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::fault::StoreKind;
use crate::service::Service;

/// The store of an installation.
pub enum Store {
    /// A file in its data directory.
    File(PathBuf),
    /// A server, which ends with this.
    Server(Service),
}

/// A store that takes nothing for the moment.
pub enum Held {
    /// The file is locked by an outsider, until this is dropped.
    Locked(Connection),
    /// The server's processes are stopped.
    Stopped,
}

impl Store {
    /// Starts what there is to start, for an installation with this data directory.
    pub async fn start(kind: StoreKind, data: &Path) -> Self {
        match kind {
            StoreKind::Sqlite => Self::File(data.join("repo.db")),
            StoreKind::Mariadb => Self::Server(Service::start("mariadb").await),
            StoreKind::Postgres => Self::Server(Service::start("postgres").await),
        }
    }

    /// What a configuration file says of it.
    pub fn section(&self) -> String {
        match self {
            Self::File(_) => String::new(),
            Self::Server(server) => format!("[repo.store]\nurl = \"{}\"\n", server.url()),
        }
    }

    /// Holds it up until [`Store::let_go`].
    pub async fn hold(&self) -> Held {
        match self {
            Self::File(file) => Held::Locked(lock(file).await),
            Self::Server(server) => {
                server.signal("STOP").await;
                Held::Stopped
            }
        }
    }

    /// It goes on.
    pub async fn let_go(&self, held: Held) {
        match (held, self) {
            (Held::Locked(connection), _) => drop(connection),
            (Held::Stopped, Self::Server(server)) => server.signal("CONT").await,
            (Held::Stopped, Self::File(_)) => unreachable!("a file has no processes"),
        }
    }

    /// The server is killed, and started again.
    pub async fn kill(&self) {
        match self {
            Self::File(_) => unreachable!("a file can't be killed"),
            Self::Server(server) => {
                server.signal("KILL").await;
                server.start_again().await;
            }
        }
    }
}

/// A lock against writing, taken as soon as the owner's transaction is done.
async fn lock(file: &Path) -> Connection {
    let file = file.to_owned();
    let locking = tokio::task::spawn_blocking(move || {
        let db = Connection::open(&file)?;
        db.busy_timeout(Duration::from_secs(30))?;
        db.execute_batch("BEGIN EXCLUSIVE")?;
        Ok::<_, rusqlite::Error>(db)
    });
    locking.await.expect("it does not panic").expect("the store can be locked")
}
