//! The gRPC services: they check requests, call the store or append to the log, and answer.
//!
//! Each call is a method of [`Repo`] of the same name, from a message to a message. [`service!`] makes the trait of a
//! service from them, with [`answer`], where a failure becomes a status.

mod auth;
mod conversations;
mod groups;
mod input;
mod messages;
mod upstream;
mod users;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use schemas::ids::UserId;
use schemas::snowflake::Snowflake;
use schemas::token::SigningKey;
use tokio::sync::{Notify, watch};
use tonic::Status;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::Log;

use super::cache::Cache;
pub(super) use super::call::{CallError, answer, status_of};
use super::config::RepoConfig;
use super::passwords::Passwords;
use super::store::ServiceStore;

/// Implements the trait of a service: `call(Request) -> Answer;` is the method `call` of [`Repo`]. What is named after
/// the answer reads the call's metadata, and the method takes that too. `[stream]` answers with many messages.
macro_rules! service {
    ($service:ident
        $($method:ident($request:ident) -> $answer:ident $(, $metadata:ident)?;)*
        $([stream] $stream_method:ident($stream_request:ident) -> $stream:ident: $part:ident;)?
    ) => {
        #[tonic::async_trait]
        impl $service for Repo {
            $(async fn $method(
                &self,
                request: tonic::Request<pb::$request>,
            ) -> Result<tonic::Response<pb::$answer>, tonic::Status> {
                let (_metadata, _, message) = request.into_parts();
                super::answer(stringify!($method), self.$method(message $(, $metadata(&_metadata))?).await)
            })*
            $(
                type $stream = super::Streamed<pb::$part>;

                async fn $stream_method(
                    &self,
                    request: tonic::Request<pb::$stream_request>,
                ) -> Result<tonic::Response<Self::$stream>, tonic::Status> {
                    super::answer(stringify!($stream_method), self.$stream_method(request.into_inner()).await)
                }
            )?
        }
    };
}
use service;

/// An answer of many messages.
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Whether a user is online on any gateway.
pub type IsOnline = Arc<dyn Fn(UserId) -> bool + Send + Sync>;

/// What the repo is put together from.
pub struct RepoParts {
    pub store: Arc<dyn ServiceStore>,
    /// Knows where users are connected.
    pub cache: Arc<dyn Cache>,
    /// Where messages enter the chain.
    pub log: Arc<dyn Log>,
    /// Tells whether a user is online anywhere.
    pub is_online: IsOnline,
    pub signing_key: Arc<SigningKey>,
    pub clock: Clock,
    /// Wakes the outbox relay after a change of a group.
    pub group_changed: Arc<Notify>,
    /// How far the chain is behind; watched elsewhere.
    pub backlog: Arc<Backlog>,
    pub config: RepoConfig,
    /// How long a shutdown waits for calls in flight.
    pub drain_timeout: Duration,
    /// Whether calls can be served: what `grpc.health.v1` reports.
    pub serving: watch::Receiver<bool>,
    /// Instance id of the Snowflakes of users, groups and sign-ins, below
    /// [`schemas::snowflake::INSTANCES`] and nobody else's in the installation.
    pub instance: u16,
}

/// All services of the repo, over one store and one log.
#[derive(Clone)]
pub(super) struct Repo(pub(super) Arc<RepoInner>);

pub(super) struct RepoInner {
    pub(super) parts: RepoParts,
    pub(super) passwords: Passwords,
    pub(super) ids: Mutex<Snowflake>,
}

impl std::ops::Deref for Repo {
    type Target = RepoParts;

    fn deref(&self) -> &RepoParts {
        &self.0.parts
    }
}

impl Repo {
    /// A new id for a user, group or sign-in.
    fn new_id(&self) -> Result<i64, CallError> {
        let mut ids = self.0.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next(self.clock.now_ms(), None).map_err(|e| CallError::internal("no new id", e))
    }
}
