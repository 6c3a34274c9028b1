//! Errors on a connection, below the calls of the store: [`explain`](super::dialect::explain) adds which call failed.

use std::time::Duration;

use schemas::error::Refusal;

use crate::repo::store::StoreError;

/// A failure inside a transaction.
#[derive(Debug)]
pub enum Fault {
    /// The database or the way there.
    Sql(sqlx::Error),
    /// The database did not answer within this time.
    Slow(Duration),
    /// A rule that only the store can judge.
    Refused(Refusal),
    /// What is stored cannot be read back.
    Unreadable(String),
    Store(StoreError),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
