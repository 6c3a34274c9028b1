//! Puts the gateway together, runs it, and takes it down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::serve::ListenerExt;
use schemas::token::VerifyingKey;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::{Log, LogError, Reader};

use crate::appender::{AppendTask, appender};
use crate::config::GatewayConfig;
use crate::edge::{Edge, Rates};
use crate::operations::Operations;
use crate::presence::{self, OtherGateways, PresenceChange, PresencePublisher, SlotLease};
use crate::repeats::Taken;
use crate::repo::Repo;
use crate::rights::Rights;
use crate::sessions::{CloseReason, Sessions};
use crate::sign_ins::SignIns;
use crate::signals::Signals;
use crate::{delivery, http, queues};

/// What a gateway is made of.
pub struct GatewayParts {
    pub config: GatewayConfig,
    /// How long after its first attempt a resend is recognised; clients are told.
    pub resend_window: Duration,
    /// How long a shutdown waits for sockets to close, and then as long for the log to take what they said.
    pub shutdown_grace: Duration,
    /// Takes what clients say, gives what they shall hear.
    pub log: Arc<dyn Log>,
    /// To the repo.
    pub repo: Channel,
    /// Verifies access tokens.
    pub verifying_key: VerifyingKey,
    /// The slot it serves.
    pub slot: SlotLease,
    /// Who is online at the other gateways.
    pub others: OtherGateways,
    /// Tells the time.
    pub clock: Clock,
    /// Knows how far the chain is behind; somebody else looks.
    pub backlog: Arc<Backlog>,
    /// What `/metrics` and `/health` show.
    pub operations: Operations,
}

/// Why a gateway ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Another process owns the slot now.
    #[error(
        "another process has begun to serve gateway slot {slot}: deliveries go there, so this one ends. Give each \
         gateway a --slot of its own"
    )]
    LeaseLost { slot: u32 },
    /// Its partition of deliveries can't be read.
    #[error("the deliveries of gateway slot {slot} can't be read")]
    Deliveries {
        slot: u32,
        /// What the log says.
        #[source]
        source: LogError,
    },
    /// The listener failed.
    #[error("connections can't be accepted any more")]
    Accept {
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Serves clients until `shutdown`, then closes their sockets (1001), puts what they have said into the
/// log and says that they are gone, all within the grace time of the configuration.
///
/// # Errors
/// [`GatewayError`]. Clients were then told to go elsewhere, too.
pub async fn serve(
    parts: GatewayParts,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), GatewayError> {
    let slot = parts.slot.slot;
    // Before the first presence: what is addressed to us from now on lies behind this position.
    let reader = delivery::open(parts.log.as_ref(), &parts.slot)
        .await
        .map_err(|source| GatewayError::Deliveries { slot, source })?;
    let log = parts.log.clone();
    let (edge, append_task, changes) = assemble(parts);
    let tasks = Tasks::start(&edge, &log, append_task, reader, changes);
    let ended = until_the_end(&edge, listener, &shutdown, &tasks).await;
    tasks.stop(&edge).await;
    ended
}

fn assemble(parts: GatewayParts) -> (Arc<Edge>, AppendTask, broadcast::Receiver<PresenceChange>) {
    let GatewayParts {
        config,
        resend_window,
        shutdown_grace,
        log,
        repo,
        verifying_key,
        slot,
        others,
        clock,
        backlog,
        operations,
    } = parts;
    let repo = Repo::new(repo, Duration::from_millis(config.repo_timeout_ms));
    let access_age = Duration::from_millis(config.access_cache_ms);
    let append_timeout = Duration::from_millis(config.append_timeout_ms);
    let (appender, append_task) = appender(log, config.append_queue_records_max, append_timeout);
    let edge = Edge {
        rights: Rights::new(repo.clone(), access_age, config.access_cache_entries_max, config.typing_members_max),
        sign_ins: SignIns::new(Duration::from_millis(config.sign_in_cache_ms), config.access_cache_entries_max),
        taken: Taken::new(config.access_cache_entries_max, resend_window),
        backlog,
        sessions: Sessions::new(config.sockets_a_user_max),
        presence: PresencePublisher::new(slot.clone()),
        is_online_elsewhere: others.is_online,
        signals: Signals::default(),
        rates: Rates::new(&config),
        heads_permits: Semaphore::new(config.heads_concurrent_max.max(1)),
        sockets: TaskTracker::new(),
        closing: CancellationToken::new(),
        next_socket: AtomicU64::new(1),
        key: verifying_key,
        lease: slot,
        config,
        resend_window,
        shutdown_grace,
        clock,
        repo,
        appender,
        operations,
    };
    (Arc::new(edge), append_task, others.changes)
}

/// Accepts connections until shutdown, the loss of the lease, or a failure.
async fn until_the_end(
    edge: &Arc<Edge>,
    listener: TcpListener,
    shutdown: &CancellationToken,
    tasks: &Tasks,
) -> Result<(), GatewayError> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let service = http::router(edge.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(edge.closing.clone().cancelled_owned());
    let mut serving = std::pin::pin!(async move { serving.await });
    let slot = edge.lease.slot;
    let ended = tokio::select! {
        served = &mut serving => return served.map_err(|source| GatewayError::Accept { source }),
        () = shutdown.cancelled() => Ok(()),
        () = edge.lease.lost.cancelled() => Err(GatewayError::LeaseLost { slot }),
        source = tasks.delivery_failed() => Err(GatewayError::Deliveries { slot, source }),
    };
    edge.closing.cancel();
    edge.sessions.for_all(|socket| socket.close(CloseReason::GoingAway));
    edge.sockets.close();
    let grace = edge.shutdown_grace;
    let closed = async {
        let (served, ()) = tokio::join!(&mut serving, edge.sockets.wait());
        if let Err(error) = served {
            tracing::warn!(%error, "the listener failed while it was closed");
        }
    };
    if tokio::time::timeout(grace, closed).await.is_err() {
        tracing::warn!(sockets = edge.sessions.open(), "connections were still open at the end of the grace time");
    }
    ended
}

/// What runs beside the sockets.
struct Tasks {
    running: JoinSet<()>,
    /// Of everything but the two that drain.
    stop: CancellationToken,
    /// Of the appender and presence: after the sockets are closed.
    drain: CancellationToken,
    delivery: tokio::sync::Mutex<tokio::sync::oneshot::Receiver<LogError>>,
}

impl Tasks {
    fn start(
        edge: &Arc<Edge>,
        log: &Arc<dyn Log>,
        append_task: AppendTask,
        reader: Reader,
        changes: broadcast::Receiver<PresenceChange>,
    ) -> Self {
        let (stop, drain) = (CancellationToken::new(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(append_task.run(drain.clone()));
        let (failed, delivery) = tokio::sync::oneshot::channel();
        running.spawn({
            let (edge, log, stop) = (edge.clone(), log.clone(), stop.clone());
            async move {
                let done = delivery::run(log.as_ref(), reader, &edge, &stop).await;
                if let Err(error) = done {
                    // Without a receiver the gateway is ending anyway.
                    let _ = failed.send(error);
                }
            }
        });
        running.spawn({
            let (edge, log, drain) = (edge.clone(), log.clone(), drain.clone());
            async move { edge.presence.run(log, &edge.sessions, &edge.clock, drain).await }
        });
        running.spawn({
            let (edge, stop) = (edge.clone(), stop.clone());
            async move { presence::tell_of_others(&edge, changes, stop).await }
        });
        running.spawn(queues::tell(edge.clone(), stop.clone()));
        Self { running, stop, drain, delivery: tokio::sync::Mutex::new(delivery) }
    }

    /// Answers when deliveries can't be read any more, else never.
    async fn delivery_failed(&self) -> LogError {
        match (&mut *self.delivery.lock().await).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops them all; what waits goes into the log first.
    async fn stop(mut self, edge: &Edge) {
        self.stop.cancel();
        self.drain.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        let grace = edge.shutdown_grace;
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("the log did not take everything before the end of the grace time");
        }
    }
}
