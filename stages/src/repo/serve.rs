//! The repo's gRPC server: its services, reflection and `grpc.health.v1`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use listener::Listener;
use schemas::causes::causes;
use schemas::pb;
use schemas::snowflake::{self, Snowflake};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use topics::clock::Clock;
use tower::layer::layer_fn;

use super::coded::Coded;
use super::grpc::auth_service_server::AuthServiceServer;
use super::grpc::conversation_service_server::ConversationServiceServer;
use super::grpc::group_repo_server::GroupRepoServer;
use super::grpc::message_repo_server::MessageRepoServer;
use super::grpc::user_repo_server::UserRepoServer;
use super::passwords::{Passwords, PasswordsUnusable};
use super::seated;
use super::services::{Repo, RepoInner, RepoParts};
use super::store::{ServiceStore, StoreError};

/// Bytes of a request: a list of a thousand ids, or the longest message, with room to spare.
const REQUEST_BYTES_MAX: usize = 256 * 1_024;
/// Ids further ahead than this were not made by a clock (they were imported, or written by hand). New ids do
/// not continue from them: the 64 bits would soon be used up.
const IDS_AHEAD_MAX_MS: i64 = 10 * 366 * 24 * 3_600_000;
/// A connection whose other end does not answer a ping is closed after both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that their caller cancels before they start, on one connection. Beyond this the connection is closed
/// and all calls on it fail; an overload cancels many at once, soon more than h2's default of 20.
const PENDING_RESETS_MAX: usize = 4_096;

/// Why the repo does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error(transparent)]
    Passwords(#[from] PasswordsUnusable),
    #[error("gRPC reflection does not take the compiled-in descriptors: {}. Build the project anew", causes(.0))]
    Reflection(#[source] tonic_reflection::server::Error),
    #[error("the newest ids could not be read from the store")]
    Ids(#[source] StoreError),
    #[error("the gRPC server of the repo failed: {}. Is its address still there?", causes(.0))]
    Transport(#[source] tonic::transport::Error),
}

/// Serves until `shutdown`, then ends calls under way within the drain timeout.
///
/// # Errors
/// [`RepoError`].
pub async fn serve(parts: RepoParts, listener: Listener, shutdown: CancellationToken) -> Result<(), RepoError> {
    let (config, drain_timeout, serving) = (parts.config.clone(), parts.drain_timeout, parts.serving.clone());
    let repo = repo_of(parts).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    // The empty name stands for the server as a whole.
    let mut services = vec![""];
    macro_rules! bounded {
        ($server:ident) => {{
            services.push(<$server<Repo> as NamedService>::NAME);
            $server::new(repo.clone()).max_decoding_message_size(REQUEST_BYTES_MAX)
        }};
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let time_max = config.request_timeout();
    let server = Server::builder()
        .layer(layer_fn(move |services: Routes| Coded { services, time_max }))
        .concurrency_limit_per_connection(config.connection_requests_max as usize)
        .max_concurrent_streams(config.connection_requests_max)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(RepoError::Reflection)?)
        .add_service(reflection().build_v1alpha().map_err(RepoError::Reflection)?)
        .add_service(bounded!(UserRepoServer))
        .add_service(bounded!(MessageRepoServer))
        .add_service(bounded!(GroupRepoServer))
        .add_service(bounded!(ConversationServiceServer))
        .add_service(bounded!(AuthServiceServer));
    tell_all(&health, &services, status_of(&serving)).await;
    let server = server.serve_with_incoming_shutdown(seated::incoming(listener), shutdown.clone().cancelled_owned());
    let too_long = async {
        shutdown.run_until_cancelled(tell(&health, &services, serving)).await;
        tell_all(&health, &services, ServingStatus::NotServing).await;
        tokio::time::sleep(drain_timeout).await;
    };
    tokio::select! {
        served = server => served.map_err(RepoError::Transport),
        () = too_long => {
            tracing::warn!(waited = ?drain_timeout, "calls or streams of the repo were still open at its end: cut off");
            Ok(())
        }
    }
}

/// Reports each change, and never ends.
async fn tell(health: &HealthReporter, services: &[&str], mut serving: watch::Receiver<bool>) {
    while serving.changed().await.is_ok() {
        tell_all(health, services, status_of(&serving)).await;
    }
    // The sender is gone: the last state stays.
    std::future::pending().await
}

fn status_of(serving: &watch::Receiver<bool>) -> ServingStatus {
    if *serving.borrow() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

async fn tell_all(health: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services {
        health.set_service_status(*service, status).await;
    }
}

async fn repo_of(parts: RepoParts) -> Result<Repo, RepoError> {
    let ids = Mutex::new(ids_after_those_stored(&*parts.store, &parts.clock, parts.instance).await?);
    let passwords = Passwords::new(&parts.config)?;
    Ok(Repo(Arc::new(RepoInner { parts, passwords, ids })))
}

/// Makes ids above all stored ones, so that a clock set back does not repeat one.
async fn ids_after_those_stored(
    store: &dyn ServiceStore,
    clock: &Clock,
    instance: u16,
) -> Result<Snowflake, RepoError> {
    let mut ids = Snowflake::new(instance);
    let below = snowflake::first_at(clock.now_ms().saturating_add(IDS_AHEAD_MAX_MS));
    let newest = store.newest_id(below).await.map_err(RepoError::Ids)?;
    if newest > 0 {
        ids.observe(newest);
    }
    Ok(ids)
}
