//! Watches how far the chain is behind. Whoever admits messages for a waiting client asks here first: better a
//! clear refusal than a wait without end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::catalogue::TopicSpec;
use crate::log::Log;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A group whose lag counts: of each stage between the ack and the store, since records pile up before the one
/// that does not keep up.
#[derive(Debug, Clone, Copy)]
pub struct LagWatch {
    pub group: &'static str,
    /// The topic that it reads.
    pub topic: &'static TopicSpec,
}

/// How far the chain is behind, as of at most a second ago.
#[derive(Debug)]
pub struct Backlog {
    records: AtomicU64,
    records_max: u64,
    disk_is_short: AtomicBool,
}

impl Backlog {
    /// Empty at first; full above `records_max`.
    pub fn new(records_max: u64) -> Self {
        Self { records: AtomicU64::new(0), records_max, disk_is_short: AtomicBool::new(false) }
    }

    /// Whether no more should be admitted: too many records wait, or the disk has no room for more.
    pub fn is_full(&self) -> bool {
        self.records.load(Ordering::Relaxed) > self.records_max || self.disk_is_short.load(Ordering::Relaxed)
    }

    /// Says whether the disk has room.
    pub fn set_disk_is_short(&self, short: bool) {
        self.disk_is_short.store(short, Ordering::Relaxed);
    }

    /// How many records wait, and the limit.
    pub fn records(&self) -> (u64, u64) {
        (self.records.load(Ordering::Relaxed), self.records_max)
    }

    /// Sums up the lag of these groups every second until `stop`.
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
                    // The last known lag stays: a log that can't answer refuses appends by itself.
                    Err(error) => tracing::debug!(%error, group = watch.group, "the lag of a stage is not known"),
                }
            }
            let records = behind.iter().sum();
            self.records.store(records, Ordering::Relaxed);
            metrics::gauge!("gochat_chain_lag_records").set(records as f64);
        }
    }
}
