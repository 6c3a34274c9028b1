//! One batch: decode, prepare, process, commit; retried after a transient failure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use schemas::avro::AvroError;
use schemas::causes::causes;
use stages::stage::{Context, Input, Outputs, Source, Stage, StageError};
use tokio::time::Instant;
use topics::codec::Encoder;
use topics::dead_letter::{Reason, dead_letter};
use topics::headers::{Headers, InputPosition};
use topics::log::{Class, Commit, Incoming, LogError, Member, PartitionBatch};
use tracing::Instrument;

use super::context::back_off;
use super::error::RunError;
use super::task::Task;

/// A batch that does not get through for this long is logged. Its earlier retries are not: the health watch logs once
/// that the log, the store or the repo is down.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// Why one try at a batch failed.
enum Failure {
    /// It may succeed later.
    Transient(Box<dyn std::error::Error + Send + Sync>),
    Final(RunError),
}

/// A batch that was decoded.
struct Decoded<T> {
    inputs: Vec<Input<T>>,
    dead: Vec<Dead>,
}

/// Bytes that are no record.
struct Dead {
    partition: u32,
    record: Incoming,
    error: AvroError,
}

impl<S: Stage> Task<'_, S> {
    /// Works on a batch until it is committed, or until shutdown between two tries. When its outputs exceed one commit
    /// of the log, it works on one half of the batch, then on the other.
    pub(super) async fn work(&mut self, member: &mut dyn Member, batch: &[PartitionBatch]) -> Result<(), RunError> {
        let mut waiting = vec![];
        let mut next = Some(Cow::Borrowed(batch));
        while let Some(part) = next {
            match self.work_whole(member, &part).await {
                Err(RunError::Log { source: LogError::TooLarge { .. }, .. }) if records_of(&part) > 1 => {
                    let (first, second) = halves(&part);
                    waiting.push(second);
                    next = Some(Cow::Owned(first));
                }
                // It may be uncommitted, so nothing behind it may be.
                Ok(()) if self.shutdown.is_cancelled() => return Ok(()),
                Ok(()) => next = waiting.pop().map(Cow::Owned),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn work_whole(&mut self, member: &mut dyn Member, batch: &[PartitionBatch]) -> Result<(), RunError> {
        let (stage, started) = (S::NAME, Instant::now());
        let records = records_of(batch);
        let span = tracing::info_span!("batch", stage, records, partitions = batch.len());
        let mut wait = self.context.config.retry_wait_min;
        let (mut tries, mut told) = (0_u32, false);
        while let Err(failure) = self.attempt(member, batch).instrument(span.clone()).await {
            self.stage.aborted();
            let error = match failure {
                Failure::Final(e) => return Err(e),
                Failure::Transient(e) => e,
            };
            tries += 1;
            metrics::counter!("gochat_stage_retries_total", "stage" => stage).increment(1);
            tracing::debug!(parent: &span, tries, error = %causes(error.as_ref()), "batch waits and is tried again");
            if !told && started.elapsed() >= STUCK_AFTER {
                told = true;
                let waits_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(parent: &span, tries, waits_ms, error = %causes(error.as_ref()), "batch does not get through");
            }
            back_off(&mut wait, &self.context.config, self.shutdown).await;
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
        }
        self.stage.committed();
        if told {
            tracing::info!(parent: &span, tries, "batch got through");
        }
        metrics::counter!("gochat_stage_records_total", "stage" => stage).increment(records as u64);
        metrics::histogram!("gochat_stage_batch_records", "stage" => stage).record(records as f64);
        metrics::histogram!("gochat_stage_batch_seconds", "stage" => stage).record(started.elapsed());
        Ok(())
    }

    async fn attempt(&mut self, member: &mut dyn Member, batch: &[PartitionBatch]) -> Result<(), Failure> {
        let stage = S::NAME;
        let failed = |source: StageError| match source {
            StageError::Retry { .. } => Failure::Transient(Box::new(source)),
            StageError::Fatal { .. } => Failure::Final(RunError::Stage { stage, source }),
        };
        let Decoded { inputs, dead } = self.decode(batch);
        self.stage.prepare(&inputs).await.map_err(failed)?;
        let now_ms = self.context.clock.now_ms();
        // Instance ids come from the configuration and are not leased.
        let cx = Context { now_ms, ids_not_after_ms: None };
        let mut out = Outputs::default();
        self.stage.process(inputs, &mut out, &cx).map_err(failed)?;

        let outputs = self
            .encode(batch, out, now_ms, &dead)
            .map_err(|source| Failure::Final(RunError::Encode { stage, source }))?;
        let positions = batch.iter().map(|part| (part.partition, part.next_offset)).collect();
        member.commit(Commit { outputs, positions }).await.map_err(|source| match source.class() {
            Class::Retry | Class::Abort => Failure::Transient(Box::new(source)),
            Class::Rebuild | Class::Fatal => Failure::Final(RunError::Log { stage, source }),
        })?;
        for dead in &dead {
            let (topic, partition, offset) = (self.wiring.input.spec.name, dead.partition, dead.record.offset);
            let error = causes(&dead.error);
            tracing::error!(topic, partition, offset, error, "not a record: set aside as a dead letter");
            metrics::counter!("gochat_dead_letters_total", "topic" => topic).increment(1);
        }
        Ok(())
    }

    fn decode(&self, batch: &[PartitionBatch]) -> Decoded<S::In> {
        let mut decoded = Decoded { inputs: Vec::with_capacity(records_of(batch)), dead: vec![] };
        for part in batch {
            for record in &part.records {
                match (self.wiring.input.decode)(&record.value) {
                    Ok(value) => decoded.inputs.push(Input {
                        source: Source { partition: part.partition, offset: record.offset, time_ms: record.time_ms },
                        headers: record.headers.clone(),
                        value,
                    }),
                    Err(error) => decoded.dead.push(Dead { partition: part.partition, record: record.clone(), error }),
                }
            }
        }
        decoded
    }

    fn encode(
        &self,
        batch: &[PartitionBatch],
        mut out: Outputs<S::Out, S::Change>,
        now_ms: i64,
        dead: &[Dead],
    ) -> Result<Vec<topics::log::Outgoing>, AvroError> {
        let (input, mut encoder) = (self.wiring.input.spec, Encoder::default());
        for output in &mut out.records {
            if let Some(hops) = &mut output.headers.hops {
                hops.stamp(self.wiring.hop, now_ms);
            }
            (self.wiring.emit)(output, &mut encoder)?;
        }
        // The last change of a partition carries the position it was read to.
        let last_of = |part: &PartitionBatch| out.changes.iter().rposition(|(of, _)| *of == part.partition);
        let read: HashMap<usize, u64> =
            batch.iter().filter_map(|part| Some((last_of(part)?, part.next_offset))).collect();
        for (at, (partition, change)) in out.changes.iter().enumerate() {
            let position = read.get(&at).map(|&offset| InputPosition { topic: input.name, offset });
            let headers = position.map_or_else(Headers::default, InputPosition::alone);
            (self.wiring.changelog.emit)(*partition, change, headers, &mut encoder)?;
        }
        metrics::counter!("gochat_stage_outputs_total", "stage" => S::NAME).increment(encoder.len() as u64);
        let mut outputs = encoder.finish();
        outputs.extend(dead.iter().map(|dead| {
            let reason = Reason { reader: self.wiring.group, error: &dead.error };
            dead_letter(input, dead.partition, &dead.record, reason)
        }));
        Ok(outputs)
    }
}

fn records_of(batch: &[PartitionBatch]) -> usize {
    batch.iter().map(|part| part.records.len()).sum()
}

/// A batch of two records or more in two, each in the order of the batch.
fn halves(batch: &[PartitionBatch]) -> (Vec<PartitionBatch>, Vec<PartitionBatch>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut room = records_of(batch) / 2;
    for part in batch {
        let (before, after) = part.records.split_at(room.min(part.records.len()));
        room -= before.len();
        let partition = part.partition;
        if !before.is_empty() {
            let next_offset = after.first().map_or(part.next_offset, |record| record.offset);
            first.push(PartitionBatch { partition, records: before.to_vec(), next_offset });
        }
        if !after.is_empty() {
            second.push(PartitionBatch { partition, records: after.to_vec(), next_offset: part.next_offset });
        }
    }
    (first, second)
}
