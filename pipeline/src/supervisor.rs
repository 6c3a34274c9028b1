//! The parts of a process: each a task with a name, watched for its end, stopped layer by layer.

use std::collections::BTreeMap;
use std::future::Future;

use schemas::causes::causes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, State};

/// Why a part ended, when it was not told to.
pub type PartError = Box<dyn std::error::Error + Send + Sync>;

/// A part that ended by itself or with an error.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("{part} failed")]
    Failed {
        part: &'static str,
        #[source]
        source: PartError,
    },
    /// Without an error, though nobody told it to.
    #[error("{part} ended by itself")]
    ByItself { part: &'static str },
}

/// When a part stops: layers stop one after another, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// What takes in: first.
    Edge,
    /// What works on it.
    Chain,
    /// What the others use until they have stopped.
    Repo,
}

impl Layer {
    const ALL: [Self; 3] = [Self::Edge, Self::Chain, Self::Repo];
}

/// The running parts of a process.
pub struct Supervisor {
    health: Health,
    running: JoinSet<(&'static str, Result<(), PartError>)>,
    parts: BTreeMap<&'static str, Layer>,
    stops: [CancellationToken; Layer::ALL.len()],
}

impl Supervisor {
    /// Without parts yet; their state is told to `health`.
    pub fn new(health: Health) -> Self {
        Self { health, running: JoinSet::new(), parts: BTreeMap::new(), stops: Default::default() }
    }

    /// Cancelled when a layer shall stop.
    pub fn stop_of(&self, layer: Layer) -> CancellationToken {
        self.stops[layer as usize].clone()
    }

    /// Starts a part, which ends once the token that it is given is cancelled. Names are unique in a process.
    pub fn start<E: Into<PartError>, F: Future<Output = Result<(), E>> + Send + 'static>(
        &mut self,
        layer: Layer,
        part: &'static str,
        work: impl FnOnce(CancellationToken) -> F,
    ) {
        self.parts.insert(part, layer);
        self.health.set(part, State::Ready);
        let work = work(self.stop_of(layer));
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

    /// Stops the layers, one after another; what has not ended at `deadline` is abandoned.
    ///
    /// # Errors
    /// The first error that a part ended with.
    pub async fn stop(&mut self, deadline: Instant) -> Result<(), Ended> {
        let mut outcome = Ok(());
        for layer in Layer::ALL {
            self.stops[layer as usize].cancel();
            outcome = outcome.and(self.stopped(layer, deadline).await);
        }
        outcome
    }

    async fn stopped(&mut self, layer: Layer, deadline: Instant) -> Result<(), Ended> {
        let mut outcome = Ok(());
        while self.parts.values().any(|of| *of == layer) {
            let Ok(ended) = tokio::time::timeout_at(deadline, self.join()).await else {
                let late: Vec<_> = self.parts.iter().filter(|(_, of)| **of == layer).map(|(part, _)| part).collect();
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
        self.parts.remove(part);
        let reason = outcome.as_ref().err().map_or_else(|| "stopped".to_owned(), |e| causes(&**e));
        self.health.set(part, State::Failed(reason));
        Some((part, outcome))
    }
}
