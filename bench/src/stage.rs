//! One stage alone: batches in, outputs counted and dropped, no log.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures::{TryStreamExt, stream};
use stages::stage::{Context, Input, Source, Stage, StageError};
use stages::stream::{Batch, StageExt};
use topics::headers::{Headers, HopTimes};

use crate::usage::{Stopwatch, Took};

/// What a stage did with a stream of batches.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub records: u64,
    pub outputs: u64,
    /// What the stage took; making the batches is not counted.
    pub took: Took,
}

/// Gives a stage batches until there are no more. All records are of partitions that the stage was
/// assigned before.
///
/// # Errors
/// The stage's own.
pub async fn measure<S: Stage>(
    stage: S,
    batches: impl Iterator<Item = Vec<Input<S::In>>>,
) -> Result<Figures, StageError> {
    // What it took to make the batches, which is taken off again.
    let (making, records) = (Cell::new(Took::default()), Cell::new(0));
    let mut batches = batches;
    let timed = std::iter::from_fn(|| {
        let watch = Stopwatch::start();
        let batch = batches.next().map(|records| Batch { context: context_of(&records), records });
        making.update(|mut took| {
            took += watch.took();
            took
        });
        batch.inspect(|batch| records.set(records.get() + batch.records.len() as u64))
    });
    let watch = Stopwatch::start();
    let mut made = pin!(stream::iter(timed.map(Ok::<_, StageError>)).stage(stage));
    let mut outputs = 0;
    while let Some(made) = made.try_next().await? {
        outputs += made.outputs.records.len() as u64;
    }
    Ok(Figures { records: records.get(), outputs, took: watch.took() - making.get() })
}

/// As of the batch's last record.
fn context_of<T>(records: &[Input<T>]) -> Context {
    Context { now_ms: records.last().map_or(0, |input| input.source.time_ms), ids_not_after_ms: None }
}

/// Records as batches of one partition, `rate` of them a second from `start_ms` on.
pub struct Batches<I> {
    records: I,
    left: u64,
    batch: usize,
    start_ms: i64,
    interval: Duration,
    offset: u64,
    partitions: u32,
}

impl<I> Batches<I> {
    /// `total` of `records`, `batch` at a time, spread over `partitions` round-robin.
    pub fn new(records: I, total: u64, batch: usize, partitions: u32, start_ms: i64, rate: u64) -> Self {
        let interval = Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
        Self { records, left: total, batch, start_ms, interval, offset: 0, partitions }
    }
}

impl<T, I: Iterator<Item = T>> Iterator for Batches<I> {
    type Item = Vec<Input<T>>;

    fn next(&mut self) -> Option<Vec<Input<T>>> {
        let size = self.left.min(self.batch as u64);
        if size == 0 {
            return None;
        }
        self.left -= size;
        let records = self.records.by_ref().take(usize::try_from(size).unwrap_or(usize::MAX));
        let batch = records.map(|value| {
            let elapsed = self.interval.as_nanos() * u128::from(self.offset) / 1_000_000;
            let time_ms = self.start_ms + i64::try_from(elapsed).unwrap_or(i64::MAX / 2);
            let partition = u32::try_from(self.offset % u64::from(self.partitions)).unwrap_or(0);
            let source = Source { partition, offset: self.offset, time_ms };
            self.offset += 1;
            let headers = Headers { hops: Some(HopTimes::starting(time_ms)), ..Headers::default() };
            Input { source, headers, value }
        });
        Some(batch.collect())
    }
}
