//! Turns every failure of a gRPC call into a status, in this one place: callers get a code and a sentence, never
//! internals.

use schemas::causes::causes;
use schemas::error::{ErrorCode, GRPC_CODE_METADATA, Refusal};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Response, Status};
use topics::log::{Class as LogClass, LogError};

use super::cache::CacheError;
use super::store::{Class, StoreError};

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Where only the cache knows the answer.
    #[error("the cache failed")]
    Cache(#[from] CacheError),
    #[error("the log failed")]
    Log(#[from] LogError),
    #[error("{what}")]
    Internal {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CallError {
    pub fn internal(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { what, source: source.into() }
    }

    /// What the caller is told.
    fn refusal(&self) -> Refusal {
        let busy = || Refusal::new(ErrorCode::Busy, "something this needs does not answer now: try again");
        let internal = || Refusal::new(ErrorCode::Internal, "something went wrong here, not with you");
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Store(error) => match error.class() {
                Class::Refused(refusal) => refusal,
                Class::Retry => busy(),
                Class::Fatal => internal(),
            },
            Self::Cache(CacheError::Away { .. }) => busy(),
            Self::Cache(CacheError::Unreadable { .. } | CacheError::Address(_)) => internal(),
            Self::Log(LogError::Closed) => busy(),
            Self::Log(error) => match error.class() {
                LogClass::Retry | LogClass::Abort | LogClass::Rebuild => busy(),
                LogClass::Fatal => internal(),
            },
            Self::Internal { .. } => internal(),
        }
    }
}

/// The answer to a call. Internal failures are logged with their causes; the caller sees a code only.
pub fn answer<T>(call: &'static str, result: Result<T, CallError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status_of(call, &error))
}

pub fn status_of(call: &'static str, error: &CallError) -> Status {
    let refusal = error.refusal();
    match (error, refusal.code) {
        // Not an error: a limit refused it, or health checks report the outage. There may be very many.
        (_, ErrorCode::Busy) => tracing::debug!(call, %error, "a call was refused"),
        (_, ErrorCode::Internal) => {
            tracing::error!(call, error = causes(error), "a call failed");
        }
        _ => tracing::debug!(call, %refusal, "a call was refused"),
    }
    let mut metadata = MetadataMap::new();
    metadata.insert(GRPC_CODE_METADATA, MetadataValue::from(refusal.code.code()));
    Status::with_metadata(Code::from_i32(refusal.code.grpc_code()), refusal.message, metadata)
}
