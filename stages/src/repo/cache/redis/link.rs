//! The one connection to Redis; reconnects when it breaks.
//!
//! Redis reports a run id, which changes with each start of a server. Entries that can't be compared with
//! the store have it in their keys: a server that restarted, perhaps from an old snapshot, or a replica
//! that took over, has another run id, so its old entries are never read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};

/// A connection. Clones share it; requests of all are sent as they come and answered in order.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    /// The run id of the server.
    pub(super) run: Arc<str>,
    /// Names the script of [`Connector::new`] on the server.
    pub(super) script: Arc<str>,
}

/// Makes connections, one at a time.
pub(super) struct Connector {
    client: Client,
    connect_time_max: Duration,
    response_time_max: Duration,
    script: &'static str,
    link: Mutex<Option<Link>>,
    connecting: Arc<tokio::sync::Mutex<()>>,
}

impl Connector {
    /// Connects by `client`, within the first time, for calls that take no longer than the second; and
    /// has the script ready on every connection.
    pub(super) fn new(
        client: Client,
        connect_time_max: Duration,
        call_time_max: Duration,
        script: &'static str,
    ) -> Arc<Self> {
        let response_time_max = connect_time_max.max(call_time_max);
        let (link, connecting) = (Mutex::default(), Arc::default());
        Arc::new(Self { client, connect_time_max, response_time_max, script, link, connecting })
    }

    /// The connection, or a new one. Connecting goes on when the caller gives up: the next caller finds it.
    pub(super) async fn link(self: &Arc<Self>) -> Result<Link, RedisError> {
        if let Some(link) = self.present() {
            return Ok(link);
        }
        let alone = Arc::clone(&self.connecting).lock_owned().await;
        if let Some(link) = self.present() {
            return Ok(link);
        }
        let connector = Arc::clone(self);
        let connecting = tokio::spawn(async move {
            let link = connector.connect().await?;
            connector.set(Some(link.clone()));
            drop(alone);
            Ok(link)
        });
        connecting.await.unwrap_or_else(|e| Err(RedisError::from((ErrorKind::Io, "connecting ended", e.to_string()))))
    }

    /// Drops the connection after a failed call: the next call makes a new one.
    pub(super) fn give_up(&self) {
        self.set(None);
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_time_max))
            .set_response_timeout(Some(self.response_time_max));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut ask = redis::pipe();
        ask.cmd("INFO").arg("server").cmd("SCRIPT").arg("LOAD").arg(self.script);
        let (info, script): (String, String) = ask.query_async(&mut connection).await?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim);
        let run =
            run.ok_or_else(|| RedisError::from((ErrorKind::UnexpectedReturnType, "INFO server has no run_id")))?;
        tracing::info!(run, "connected to Redis");
        Ok(Link { connection, run: run.into(), script: script.into() })
    }

    fn present(&self) -> Option<Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, link: Option<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}
