//! Refuses messages while the chain is too far behind: better a clear Busy than a wait without end. Every
//! way into the chain that somebody waits at asks here first.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::error::{ErrorCode, Refusal};

use crate::catalogue::TopicSpec;
use crate::log::Log;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whose lag counts for Busy: of each stage that stands between the ack and the store, since what any of
/// them does not take would pile up before it.
#[derive(Debug, Clone, Copy)]
pub struct LagWatch {
    /// The consumer group.
    pub group: &'static str,
    /// The topic that it reads.
    pub topic: &'static TopicSpec,
}

/// How far the chain is behind, as of at most a second ago.
#[derive(Debug)]
pub struct Backlog {
    records: AtomicU64,
    records_max: u64,
}

impl Backlog {
    /// Nothing known yet; more than `records_max` will be too much.
    pub fn new(records_max: u64) -> Self {
        Self { records: AtomicU64::new(0), records_max }
    }

    /// Whether the chain can take more.
    ///
    /// # Errors
    /// Busy.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.records.load(Ordering::Relaxed) <= self.records_max {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Busy, "too many messages are waiting: send it again in a few seconds"))
    }

    /// How many records wait, and how many may.
    pub fn records(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.records_max)
    }

    /// Looks each second until `stop`. What counts is the sum.
    pub async fn watch(&self, log: Arc<dyn Log>, watched: &[LagWatch], stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut behind = vec![0; watched.len()];
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = ticks.tick() => {}
            }
            for (watch, behind) in watched.iter().zip(&mut behind) {
                match log.lag(watch.group, watch.topic).await {
                    Ok(partitions) => *behind = partitions.iter().map(|partition| partition.records).sum::<u64>(),
                    // What was seen last stays: a log that can't answer will refuse appends by itself, and is told
                    // of by whoever watches it.
                    Err(error) => tracing::debug!(%error, group = watch.group, "the lag of a stage is not known"),
                }
            }
            let records = behind.iter().sum();
            self.records.store(records, Ordering::Relaxed);
            metrics::gauge!("gochat_chain_lag_records").set(records as f64);
        }
    }
}
