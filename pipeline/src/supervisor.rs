//! The parts of a process: each a task with a name, watched for its end, stopped in order.

use std::collections::BTreeSet;
use std::future::Future;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::health::{Health, State};
use schemas::causes::causes;

/// Why a part ended, when it was not told to.
pub type PartError = Box<dyn std::error::Error + Send + Sync>;

/// A part that ended by itself or with an error.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// With an error.
    #[error("{part} failed")]
    Failed {
        part: &'static str,
        #[source]
        source: PartError,
    },
    /// Without one, though nobody told it to.
    #[error("{part} ended by itself")]
    ByItself { part: &'static str },
}

/// The running parts of a process.
pub struct Supervisor {
    health: Health,
    running: JoinSet<(&'static str, Result<(), PartError>)>,
    names: BTreeSet<&'static str>,
}

impl Supervisor {
    /// Without parts yet; their state is told to `health`.
    pub fn new(health: Health) -> Self {
        Self { health, running: JoinSet::new(), names: BTreeSet::new() }
    }

    /// Starts a part. Names are unique in a process.
    pub fn start<E: Into<PartError>>(
        &mut self,
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.names.insert(part);
        self.health.set(part, State::Ready);
        self.running.spawn(async move { (part, work.await.map_err(Into::into)) });
    }

    /// Waits until a part ends although nobody told it to.
    pub async fn unexpected_end(&mut self) -> Ended {
        match self.join().await {
            Some((part, Err(source))) => Ended::Failed { part, source },
            Some((part, Ok(()))) => Ended::ByItself { part },
            // Without any part there is nothing that could end.
            None => std::future::pending().await,
        }
    }

    /// Waits for parts that were told to stop, no longer than `deadline`.
    ///
    /// # Errors
    /// The first error that one of them ended with.
    pub async fn stopped(&mut self, parts: &[&'static str], deadline: Instant) -> Result<(), Ended> {
        let mut outcome = Ok(());
        while parts.iter().any(|part| self.names.contains(part)) {
            let Ok(ended) = tokio::time::timeout_at(deadline, self.join()).await else {
                let late: Vec<_> = parts.iter().filter(|part| self.names.contains(*part)).collect();
                tracing::warn!(?late, "grace time is over: abandoned; what they had not committed is worked again");
                return outcome;
            };
            if let Some((part, Err(source))) = ended
                && outcome.is_ok()
            {
                outcome = Err(Ended::Failed { part, source });
            }
        }
        outcome
    }

    async fn join(&mut self) -> Option<(&'static str, Result<(), PartError>)> {
        let ended = self.running.join_next().await?;
        let (part, outcome) = ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        self.names.remove(part);
        let reason = outcome.as_ref().err().map_or_else(|| "stopped".to_owned(), |e| causes(&**e));
        self.health.set(part, State::Failed(reason));
        Some((part, outcome))
    }
}
