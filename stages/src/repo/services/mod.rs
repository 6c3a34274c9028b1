//! The gRPC services: requests judged, handed to the store or the log, and answered.
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

use futures::Stream;
use schemas::ids::UserId;
use schemas::snowflake::Snowflake;
use schemas::token::SigningKey;
use tokio::sync::Notify;
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

/// Tells whether a user is online anywhere.
pub type IsOnline = Arc<dyn Fn(UserId) -> bool + Send + Sync>;

/// What every service works with.
#[derive(Clone)]
pub(super) struct Repo(pub(super) Arc<RepoInner>);

pub(super) struct RepoInner {
    pub(super) store: Arc<dyn ServiceStore>,
    pub(super) log: Arc<dyn Log>,
    pub(super) is_online: IsOnline,
    pub(super) signing_key: Arc<SigningKey>,
    pub(super) clock: Clock,
    pub(super) group_changed: Arc<Notify>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) config: RepoConfig,
    pub(super) passwords: Passwords,
    pub(super) ids: Mutex<Snowflake>,
    /// Knows where users are connected.
    pub(super) cache: Arc<dyn Cache>,
}

impl std::ops::Deref for Repo {
    type Target = RepoInner;

    fn deref(&self) -> &RepoInner {
        &self.0
    }
}

impl Repo {
    /// A new id for a user, group or sign-in.
    fn new_id(&self) -> Result<i64, CallError> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next(self.clock.now_ms(), None).map_err(|e| CallError::internal("no new id", e))
    }
}
