//! Watches how far the chain is behind. Whoever admits messages for a waiting client asks here first: better a
//! clear refusal than a wait without end.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::catalogue::TopicSpec;
use crate::log::{Log, PartitionLag};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A group whose lag counts: of each stage between the ack and the store, since records pile up before the one
/// that does not keep up.
#[derive(Debug, Clone, Copy)]
pub struct LagWatch {
    pub group: &'static str,
    /// The topic that it reads.
    pub topic: &'static TopicSpec,
}

/// How far the chain may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Records that wait; above it nothing is admitted.
    pub records_max: u64,
    /// How long the oldest of them have waited; above it nothing is admitted.
    pub wait_max: Duration,
    /// Records that wait; above it users get a share each.
    pub late_records: u64,
    /// How long the oldest of them have waited; above it the same.
    pub late_wait: Duration,
}

/// What a process is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    Disk,
    Memory,
}

/// How far the chain is behind, as of at most a second ago.
#[derive(Debug)]
pub struct Backlog {
    limits: BacklogLimits,
    records: AtomicU64,
    /// Admitted by this process since the last look.
    admitted: AtomicU64,
    wait_ms: AtomicU64,
    disk_is_short: AtomicBool,
    memory_is_short: AtomicBool,
}

impl Backlog {
    /// Empty at first.
    pub fn new(limits: BacklogLimits) -> Self {
        Self {
            limits,
            records: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            wait_ms: AtomicU64::new(0),
            disk_is_short: AtomicBool::new(false),
            memory_is_short: AtomicBool::new(false),
        }
    }

    /// Whether no more is to be admitted: too many records wait, or for too long, or there is no room for more.
    pub fn is_full(&self) -> bool {
        self.is_short_of(Shortage::Disk) || self.is_short_of(Shortage::Memory) || self.overload().is_some()
    }

    /// Whether each user is to get a share: many records wait, with those of a burst since the last look, or the
    /// oldest have waited for a while.
    pub fn is_late(&self) -> bool {
        let records = self.records.load(Ordering::Relaxed) + self.admitted.load(Ordering::Relaxed);
        records > self.limits.late_records || self.wait() > self.limits.late_wait
    }

    /// Counts a record that was admitted.
    pub fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Which limit the waiting records are over.
    pub fn overload(&self) -> Option<String> {
        let (records, wait) = (self.records.load(Ordering::Relaxed), self.wait());
        let BacklogLimits { records_max, wait_max, .. } = self.limits;
        if records > records_max {
            return Some(format!("{records} records wait before the store, more than {records_max}"));
        }
        let (seconds, seconds_max) = (wait.as_secs(), wait_max.as_secs_f64());
        (wait > wait_max)
            .then(|| format!("the oldest records have waited {seconds} s before the store, more than {seconds_max} s"))
    }

    pub fn is_short_of(&self, what: Shortage) -> bool {
        self.shortage(what).load(Ordering::Relaxed)
    }

    /// Says whether the process is short of it.
    pub fn set_short_of(&self, what: Shortage, short: bool) {
        self.shortage(what).store(short, Ordering::Relaxed);
    }

    fn shortage(&self, what: Shortage) -> &AtomicBool {
        match what {
            Shortage::Disk => &self.disk_is_short,
            Shortage::Memory => &self.memory_is_short,
        }
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.load(Ordering::Relaxed))
    }

    /// Sums up the lag of these groups every second until `stop`.
    pub async fn watch(&self, log: Arc<dyn Log>, watched: &[LagWatch], stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut groups: Vec<_> = watched.iter().map(|_| GroupLag::default()).collect();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = ticks.tick() => {}
            }
            for (watch, known) in watched.iter().zip(&mut groups) {
                match log.lag(watch.group, watch.topic).await {
                    Ok(partitions) => known.update(&partitions, Instant::now()),
                    // The last known lag stays: a log that can't answer refuses appends by itself.
                    Err(error) => tracing::debug!(%error, group = watch.group, "the lag of a stage is not known"),
                }
            }
            // Stages come one after another: so long a message that is admitted now would wait.
            let wait: Duration = groups.iter().map(|group| group.wait).sum();
            let records = groups.iter().map(|group| group.records).sum();
            self.records.store(records, Ordering::Relaxed);
            self.admitted.store(0, Ordering::Relaxed);
            self.wait_ms.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            metrics::gauge!("gochat_chain_lag_records").set(records as f64);
            metrics::gauge!("gochat_chain_lag_seconds").set(wait.as_secs_f64());
        }
    }
}

/// How far a group is behind.
#[derive(Debug, Default)]
struct GroupLag {
    records: u64,
    /// How long the oldest record of any partition has waited.
    wait: Duration,
    /// One for each partition, in the order in which the log tells of them.
    ages: Vec<Ages>,
}

impl GroupLag {
    fn update(&mut self, partitions: &[PartitionLag], now: Instant) {
        self.records = partitions.iter().map(|partition| partition.records).sum();
        self.ages.resize_with(partitions.len(), Ages::default);
        let waits = self.ages.iter_mut().zip(partitions).map(|(ages, lag)| ages.update(lag, now));
        self.wait = waits.max().unwrap_or_default();
    }
}

/// Ends of a partition, each with the time when it was first seen: they tell how long records have waited, without
/// reading them.
#[derive(Debug, Default)]
struct Ages(VecDeque<(u64, Instant)>);

impl Ages {
    /// In a full list the oldest stay, which tell the wait.
    const KEPT_MAX: usize = 128;

    /// Takes in what is known now; how long the oldest record has waited at least.
    fn update(&mut self, lag: &PartitionLag, now: Instant) -> Duration {
        let position = lag.end.saturating_sub(lag.records);
        while self.0.front().is_some_and(|&(end, _)| end <= position) {
            self.0.pop_front();
        }
        let newest = self.0.back().map_or(position, |&(end, _)| end);
        if lag.end > newest && self.0.len() < Self::KEPT_MAX {
            self.0.push_back((lag.end, now));
        }
        self.0.front().map_or(Duration::ZERO, |&(_, seen)| now - seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(committed: u64, end: u64) -> PartitionLag {
        PartitionLag { partition: 0, committed: Some(committed), end, records: end - committed }
    }

    #[test]
    fn the_wait_is_that_of_the_oldest_record() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        let mut at =
            |second, committed, end| ages.update(&lag(committed, end), start + Duration::from_secs(second)).as_secs();
        assert_eq!(at(0, 5, 5), 0);
        assert_eq!(at(1, 5, 10), 0, "they have just come");
        assert_eq!(at(4, 5, 20), 3);
        assert_eq!(at(5, 9, 30), 4, "one of the oldest still waits");
        assert_eq!(at(6, 10, 30), 2, "those that came at 4 s are the oldest now");
        assert_eq!(at(7, 30, 30), 0);
        assert_eq!(at(9, 30, 31), 0, "nothing waited meanwhile");
    }

    #[test]
    fn a_stage_that_stands_still_costs_no_more_memory_and_is_known_to_wait() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        for second in 0..1_000 {
            let wait = ages.update(&lag(0, second + 1), start + Duration::from_secs(second));
            assert_eq!(wait.as_secs(), second);
        }
        assert_eq!(ages.0.len(), Ages::KEPT_MAX);
    }

    #[test]
    fn each_limit_and_each_shortage_refuses() {
        let limits = BacklogLimits {
            records_max: 10,
            wait_max: Duration::from_secs(60),
            late_records: 5,
            late_wait: Duration::from_secs(2),
        };
        let check = |records: u64, wait_ms: u64, short: Option<Shortage>, late: bool, full: bool| {
            let backlog = Backlog::new(limits);
            backlog.records.store(records, Ordering::Relaxed);
            backlog.wait_ms.store(wait_ms, Ordering::Relaxed);
            short.inspect(|&what| backlog.set_short_of(what, true));
            assert_eq!((backlog.is_late(), backlog.is_full()), (late, full), "{records} {wait_ms} {short:?}");
        };
        check(5, 2_000, None, false, false);
        check(6, 0, None, true, false);
        check(10, 0, None, true, false);
        check(11, 0, None, true, true);
        check(1, 2_001, None, true, false);
        check(1, 60_000, None, true, false);
        check(1, 60_001, None, true, true);
        check(0, 0, Some(Shortage::Disk), false, true);
        check(0, 0, Some(Shortage::Memory), false, true);
        let backlog = Backlog::new(limits);
        (0..5).for_each(|_| backlog.count_admitted());
        assert!(!backlog.is_late());
        backlog.count_admitted();
        assert!(backlog.is_late() && !backlog.is_full(), "a burst counts before the next look");
    }
}
