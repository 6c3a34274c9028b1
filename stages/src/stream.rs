//! Stages over streams of batches: `batches.stage(Dedupe::new(window_ms)).stage(IdAssign::new(0))` is a stream of what
//! both make. For use without a log: tests, benchmarks, the sandbox of a replay.

use futures::{Stream, StreamExt, stream};

use crate::stage::{Context, Input, Output, Outputs, Stage, StageError};

/// Records that are processed together.
#[derive(Debug)]
pub struct Batch<T> {
    pub records: Vec<Input<T>>,
    /// What the stages may know of their surroundings.
    pub context: Context,
}

/// What a stage made of a batch.
#[derive(Debug)]
pub struct Made<T, C> {
    pub outputs: Outputs<T, C>,
    /// As it was given.
    pub context: Context,
}

/// The next stage's batch. The changes are dropped: [`Stage::then`] keeps those of both stages.
impl<T, C> From<Made<T, C>> for Batch<T> {
    fn from(Made { outputs, context }: Made<T, C>) -> Self {
        Self { records: outputs.records.into_iter().map(Output::into).collect(), context }
    }
}

/// Works a batch: [`Stage::prepare`], then [`Stage::process`]. What it changed is pending.
///
/// # Errors
/// The stage's own; the batch was then aborted.
pub async fn work<S: Stage>(stage: &mut S, batch: Batch<S::In>) -> Result<Made<S::Out, S::Change>, StageError> {
    let Batch { records, context } = batch;
    let mut outputs = Outputs::default();
    let worked = match stage.prepare(&records).await {
        Ok(()) => stage.process(records, &mut outputs, &context),
        Err(error) => Err(error),
    };
    match worked {
        Ok(()) => Ok(Made { outputs, context }),
        Err(error) => {
            stage.aborted();
            Err(error)
        }
    }
}

/// A stream of batches that a stage can work.
pub trait StageExt: Stream + Sized {
    /// Gives each batch to a stage, whose partitions are assigned. What it made of a batch is committed when the next
    /// one is asked for. A batch that failed is aborted, its error passed on, and left out.
    fn stage<S, B>(self, stage: S) -> impl Stream<Item = Result<Made<S::Out, S::Change>, StageError>>
    where
        S: Stage,
        B: Into<Batch<S::In>>,
        Self: Stream<Item = Result<B, StageError>>,
    {
        let batches = Box::pin(self);
        stream::unfold((batches, stage, false), |(mut batches, mut stage, mut pending)| async move {
            if pending {
                stage.committed();
            }
            let made = match batches.next().await? {
                Ok(batch) => work(&mut stage, batch.into()).await,
                Err(error) => Err(error),
            };
            pending = made.is_ok();
            Some((made, (batches, stage, pending)))
        })
    }
}

impl<T: Stream> StageExt for T {}
