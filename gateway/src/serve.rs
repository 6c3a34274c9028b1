//! Builds the gateway, runs it, and stops it in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use futures::FutureExt;
use listener::Listener;
use schemas::token::VerifyingKey;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::{Log, LogError, Reader};

use crate::appender::{AppendTask, appender};
use crate::close_reason::CloseReason;
use crate::config::GatewayConfig;
use crate::edge::{Edge, Rates};
use crate::operations::Operations;
use crate::presence::{self, OtherGateways, PresenceChange, PresencePublisher, SlotLease};
use crate::recent_requests::RecentRequests;
use crate::repo::Repo;
use crate::rights::Rights;
use crate::send_bytes::SendBytes;
use crate::sessions::Sessions;
use crate::sign_ins::SignIns;
use crate::signals::Signals;
use crate::{delivery, http, queues, routes};

/// What a gateway is built from.
pub struct GatewayParts {
    pub config: GatewayConfig,
    /// How long after its first attempt a resend is recognised. `hello` says it.
    pub resend_window: Duration,
    /// How long a shutdown waits for connections to close, and then again for the log to take what they sent.
    pub shutdown_grace: Duration,
    pub log: Arc<dyn Log>,
    pub repo: Channel,
    pub verifying_key: VerifyingKey,
    pub slot: SlotLease,
    pub others: OtherGateways,
    pub clock: Clock,
    /// How far the chain is behind. The process keeps it up to date.
    pub backlog: Arc<Backlog>,
    pub operations: Operations,
}

/// Why a gateway ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(
        "another process has begun to serve gateway slot {slot}: deliveries go there, so this one ends. Give each \
         gateway a --slot of its own"
    )]
    LeaseLost { slot: u32 },
    #[error("the deliveries of gateway slot {slot} can't be read")]
    Deliveries {
        slot: u32,
        #[source]
        source: LogError,
    },
}

/// Serves clients until `shutdown`. Then it closes their sockets (1001), appends what they sent, and publishes that
/// they are offline, each within the grace time.
///
/// # Errors
/// [`GatewayError`], after the same shutdown.
pub async fn serve(parts: GatewayParts, listener: Listener, shutdown: CancellationToken) -> Result<(), GatewayError> {
    let (log, slot, grace) = (parts.log.clone(), parts.slot.slot, parts.shutdown_grace);
    // Before the first presence: what is addressed to this epoch lies behind this position.
    let reader =
        delivery::open(log.as_ref(), &parts.slot).await.map_err(|source| GatewayError::Deliveries { slot, source })?;
    let (edge, append_task, changes) = assemble(parts);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let router = routes::router(edge.clone());
    let (asked, closing, connections) = (edge.clone(), edge.closing.clone(), edge.connections.clone());
    let wait = move |address| asked.connection_wait(address);
    tasks.spawn(http::serve(listener, router, wait, closing, connections).map(Ok));
    tasks.spawn(append_task.run(stop.clone()).map(Ok));
    tasks.spawn(deliver(edge.clone(), log.clone(), reader, stop.clone()));
    tasks.spawn(publish_presence(edge.clone(), log, stop.clone()).map(Ok));
    tasks.spawn(signal_presence(edge.clone(), changes, stop.clone()).map(Ok));
    tasks.spawn(queues::report(edge.clone(), stop.clone()).map(Ok));
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = edge.lease.lost.cancelled() => Err(GatewayError::LeaseLost { slot }),
        error = first_failure(&mut tasks) => Err(error),
    };

    edge.closing.cancel();
    edge.sessions.for_all(|socket| socket.close(CloseReason::GoingAway));
    edge.connections.close();
    if timeout(grace, edge.connections.wait()).await.is_err() {
        tracing::warn!(sockets = edge.sessions.open(), "connections were still open at the end of the grace time");
    }
    stop.cancel();
    if timeout(grace, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("the log did not take everything before the end of the grace time");
    }
    outcome
}

fn assemble(parts: GatewayParts) -> (Arc<Edge>, AppendTask, broadcast::Receiver<PresenceChange>) {
    let GatewayParts { config, log, slot, others, .. } = parts;
    let repo_timeout = Duration::from_millis(config.repo_timeout_ms);
    let repo = Repo::new(parts.repo, repo_timeout, config.repo_calls_a_user_max);
    let append_timeout = Duration::from_millis(config.append_timeout_ms);
    let (appender, append_task) = appender(log, config.append_queue_records_max, append_timeout);
    let edge = Edge {
        rights: Rights::new(repo.clone(), &config),
        sign_ins: SignIns::new(Duration::from_millis(config.sign_in_cache_ms), config.access_cache_entries_max),
        recent_requests: RecentRequests::new(config.access_cache_entries_max, parts.resend_window),
        backlog: parts.backlog,
        sessions: Sessions::new(config.sockets_a_user_max),
        send_bytes: Arc::new(SendBytes::new(&config)),
        presence: PresencePublisher::new(slot.clone()),
        is_online_elsewhere: others.is_online,
        signals: Signals::default(),
        rates: Rates::new(&config),
        heads_permits: Semaphore::new(config.heads_concurrent_max.max(1)),
        connections: TaskTracker::new(),
        closing: CancellationToken::new(),
        next_socket: AtomicU64::new(1),
        key: parts.verifying_key,
        lease: slot,
        config,
        resend_window: parts.resend_window,
        clock: parts.clock,
        latest_ms: AtomicI64::new(0),
        repo,
        appender,
        operations: parts.operations,
    };
    (Arc::new(edge), append_task, others.changes)
}

async fn deliver(
    edge: Arc<Edge>,
    log: Arc<dyn Log>,
    reader: Reader,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    let delivered = delivery::run(log.as_ref(), reader, &edge, &stop).await;
    delivered.map_err(|source| GatewayError::Deliveries { slot: edge.lease.slot, source })
}

async fn publish_presence(edge: Arc<Edge>, log: Arc<dyn Log>, stop: CancellationToken) {
    edge.presence.run(log, &edge.sessions, &edge.clock, stop).await;
}

async fn signal_presence(edge: Arc<Edge>, changes: broadcast::Receiver<PresenceChange>, stop: CancellationToken) {
    presence::signal(&edge.signals, |user| edge.is_online(user), &edge.clock, changes, stop).await;
}

/// Waits for the first task that fails. Tasks that end well are of no interest.
async fn first_failure(tasks: &mut JoinSet<Result<(), GatewayError>>) -> GatewayError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())) {
            return error;
        }
    }
    std::future::pending().await
}
