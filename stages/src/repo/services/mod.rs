//! The gRPC services: requests judged, handed to the store or the log, and answered.
//!
//! Every service is a trait on [`Repo`]. Its methods are one line each: [`answer`] is where a failure becomes a
//! status.

mod auth;
mod conversations;
mod groups;
mod input;
mod messages;
mod upstream;
mod users;

use std::sync::{Arc, Mutex, PoisonError};

use schemas::ids::UserId;
use schemas::snowflake::Snowflake;
use schemas::token::SigningKey;
use tokio::sync::Notify;
use topics::backlog::Backlog;
use topics::clock::Clock;
use topics::log::Log;

use super::cache::Cache;
pub(super) use super::call::{CallError, answer, status_of};
use super::config::RepoConfig;
use super::passwords::Passwords;
use super::store::ServiceStore;

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
