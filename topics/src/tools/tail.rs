//! Reading along a topic, or what is there of it, with a choice of records.

use std::collections::HashMap;
use std::time::Duration;

use futures::{Stream, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;

use super::condition::Condition;
use super::view::record_json;
use crate::catalogue::TopicSpec;
use crate::headers::Hop;
use crate::log::{Bounds, Log, LogError, PartitionBatch, Reader, StartAt};
use crate::scan::STALL_MAX;

/// What to show of a topic.
#[derive(Debug, Clone)]
pub struct Choice {
    /// This partition; `None`: all.
    pub partition: Option<u32>,
    /// Where to start in each.
    pub from: StartAt,
    /// Go on when the end is reached.
    pub follow: bool,
    /// Only records with this key.
    pub key: Option<String>,
    /// Only records whose fields meet all of these.
    pub conditions: Vec<Condition>,
    /// The hops whose times are shown.
    pub hops: Vec<Hop>,
}

/// The records of a topic that were chosen, as [`record_json`] shows them. Ends where nothing is followed and
/// all that was there at the start has been seen.
///
/// Where one partition has an offset, another that does not have it yet starts at its end. An offset that is
/// not kept any more starts at the oldest that is.
///
/// # Errors
/// [`LogError::NoSuchPartition`], [`LogError::OffsetOutOfRange`] when no partition has the offset yet, and those
/// of [`Log::read`]. As an item, those of [`Reader`]; [`LogError::Stalled`] when the end is not reached.
pub async fn tail(
    log: &dyn Log,
    topic: &'static TopicSpec,
    choice: Choice,
) -> Result<impl Stream<Item = Result<Value, LogError>> + use<>, LogError> {
    let tail = Tail::open(log, topic, choice).await?;
    let batches =
        stream::try_unfold(tail, |mut tail| async move { Ok(tail.next().await?.map(|chosen| (chosen, tail))) });
    Ok(batches.map_ok(|chosen| stream::iter(chosen.into_iter().map(Ok))).try_flatten())
}

struct Tail {
    topic: &'static TopicSpec,
    choice: Choice,
    reader: Reader,
    /// Where each partition ended at the start; those that were reached are gone.
    ends: HashMap<u32, u64>,
    /// When the end must come closer.
    stalls_at: Instant,
}

const WAIT: Duration = Duration::from_millis(500);

impl Tail {
    /// Looks up the ends, and starts.
    async fn open(log: &dyn Log, topic: &'static TopicSpec, choice: Choice) -> Result<Self, LogError> {
        let partitions = choice.partition.map_or(0..log.layout().partitions(topic), |one| one..one + 1);
        let (mut ends, mut from, mut longest) = (HashMap::new(), Vec::new(), (0, Bounds { start: 0, end: 0 }));
        for partition in partitions {
            let bounds = log.bounds(topic, partition).await?;
            let end = bounds.end;
            ends.insert(partition, end);
            if from.is_empty() || end > longest.1.end {
                longest = (partition, bounds);
            }
            let start = match choice.from {
                StartAt::Offset(offset) => StartAt::Offset(offset.min(end)),
                StartAt::Earliest | StartAt::Latest | StartAt::Time(_) => choice.from,
            };
            from.push((partition, start));
        }
        let (partition, Bounds { start, end }) = longest;
        if let StartAt::Offset(offset) = choice.from
            && offset > end
        {
            return Err(LogError::OffsetOutOfRange { topic: topic.name.into(), partition, offset, start, end });
        }
        let reader = log.read(topic, &from).await?;
        Ok(Self { topic, choice, reader, ends, stalls_at: Instant::now() + STALL_MAX })
    }

    /// What was chosen of the next batch, possibly nothing. `None`: the end is reached.
    async fn next(&mut self) -> Result<Option<Vec<Value>>, LogError> {
        if !self.choice.follow {
            let reader = &self.reader;
            self.ends.retain(|&partition, end| reader.position(partition).is_some_and(|position| position < *end));
            if self.ends.is_empty() {
                return Ok(None);
            }
        }
        let Some(batch) = self.reader.next_within(WAIT).await? else {
            if self.choice.follow || Instant::now() < self.stalls_at {
                return Ok(Some(Vec::new()));
            }
            let (&partition, _) = self.ends.iter().next().unwrap_or((&0, &0));
            let offset = self.reader.position(partition).unwrap_or(0);
            return Err(LogError::Stalled { topic: self.topic.name.to_owned(), partition, offset });
        };
        self.stalls_at = Instant::now() + STALL_MAX;
        Ok(Some(self.chosen(&batch)))
    }

    fn chosen(&self, batch: &PartitionBatch) -> Vec<Value> {
        let end = if self.choice.follow { Some(u64::MAX) } else { self.ends.get(&batch.partition).copied() };
        let key = self.choice.key.as_deref().map(str::as_bytes);
        let records = batch.records.iter().filter(|record| end.is_some_and(|end| record.offset < end));
        let records = records.filter(|record| key.is_none_or(|key| record.key == key));
        let shown = records.map(|record| record_json(self.topic, batch.partition, record, &self.choice.hops));
        shown
            .filter(|object| self.choice.conditions.iter().all(|condition| condition.holds(&object["value"])))
            .collect()
    }
}
