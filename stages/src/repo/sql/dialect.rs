//! What differs between databases beside their statements: how a transaction begins, and what errors mean.

use std::time::Duration;

use sqlx::Database;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::Fault;
use super::pools::InUse;
use super::session::Session;
use crate::repo::store::StoreError;

/// A database that a store may be in.
pub trait Dialect: Database + std::fmt::Debug {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    fn session(connection: &mut Self::Connection) -> Session<'_>;

    /// The class of an error that the database reports.
    fn class_of(error: &dyn DatabaseError) -> ErrorClass;
}

/// Whether a retry may help after an error of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// A retry may succeed; with `reconnect` only on another connection, since the server of this one has become
    /// read-only.
    Retry { reconnect: bool },
    /// A retry would fail too: an operator has to act.
    Fatal,
}

impl ErrorClass {
    pub const RETRY: Self = Self::Retry { reconnect: false };
}

fn class_of_error<DB: Dialect>(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            ErrorClass::RETRY
        }
        sqlx::Error::Database(error) => DB::class_of(&**error),
        _ => ErrorClass::Fatal,
    }
}

/// The error of a call, from what went wrong on its connection.
pub fn explain<DB: Dialect>(store: &str, doing: &'static str, fault: Fault) -> StoreError {
    let store = store.to_owned();
    match fault {
        Fault::Sql(error) => match class_of_error::<DB>(&error) {
            ErrorClass::Retry { .. } => StoreError::Unavailable { store, doing, source: error.into() },
            ErrorClass::Fatal => StoreError::Failed { store, doing, source: error.into() },
        },
        Fault::Slow(time) => {
            StoreError::Unavailable { store, doing, source: format!("it gave no answer within {time:?}").into() }
        }
        Fault::Refused(refusal) => StoreError::Refused(refusal),
        Fault::Unreadable(what) => StoreError::Unreadable { store, what },
        Fault::Store(error) => error,
    }
}

pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, work).await.unwrap_or(Err(Fault::Slow(limit)))
}

/// What is left of a time limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLeft {
    limit: Duration,
    deadline: Instant,
}

impl TimeLeft {
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    pub(super) async fn bound<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        timeout_at(self.deadline, work).await.unwrap_or(Err(Fault::Slow(self.limit)))
    }
}

/// Gives a connection back, unless it is of no use any more.
pub(super) fn settle<DB: Dialect, T>(connection: PoolConnection<DB>, in_use: InUse, outcome: &Result<T, Fault>) {
    // First, so that the next user of the connection is not counted beside this one.
    drop(in_use);
    let spoilt = match outcome {
        Err(Fault::Slow(_)) => true,
        Err(Fault::Sql(error)) => class_of_error::<DB>(error) == ErrorClass::Retry { reconnect: true },
        Ok(_) | Err(Fault::Refused(_) | Fault::Unreadable(_) | Fault::Store(_)) => false,
    };
    if spoilt {
        drop(connection.detach());
    }
}
