//! What a topic holds, partition by partition, and how far its consumer groups are.

use crate::catalogue::TopicSpec;
use crate::log::{Bounds, Log, LogError, StartAt};
use crate::scan::Scan;

/// A topic at one moment.
#[derive(Debug, Clone)]
pub struct TopicOverview {
    pub topic: &'static TopicSpec,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionOverview>,
}

/// A partition at one moment.
#[derive(Debug, Clone)]
pub struct PartitionOverview {
    pub partition: u32,
    pub bounds: Bounds,
    /// Log-append times of the oldest and the newest record, ms since 1970 UTC. `None`: it is empty,
    /// or times were not asked for.
    pub times: Option<(i64, i64)>,
    /// The groups that read the topic.
    pub groups: Vec<GroupPosition>,
}

/// How far a group is in a partition.
#[derive(Debug, Clone)]
pub struct GroupPosition {
    pub group: &'static str,
    /// Its committed position, when there is one.
    pub committed: Option<u64>,
    /// Offsets between it and the end.
    pub lag: u64,
}

/// Whether the times of records are looked up too: two reads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    Read,
    Skip,
}

impl TopicOverview {
    /// Looks at a topic and at these groups.
    ///
    /// # Errors
    /// Those of [`Log::bounds`], [`Log::lag`] and [`Log::read`].
    pub async fn of(
        log: &dyn Log,
        topic: &'static TopicSpec,
        groups: &[&'static str],
        times: Times,
    ) -> Result<Self, LogError> {
        let mut lags = Vec::with_capacity(groups.len());
        for &group in groups {
            lags.push((group, log.lag(group, topic).await?));
        }
        let mut partitions = Vec::new();
        for partition in 0..log.layout().partitions(topic) {
            let bounds = log.bounds(topic, partition).await?;
            let of_group = |(group, rows): &(&'static str, Vec<crate::log::PartitionLag>)| {
                let row = rows.iter().find(|row| row.partition == partition)?;
                Some(GroupPosition { group, committed: row.committed, lag: row.records })
            };
            let times = match times {
                Times::Read => oldest_and_newest(log, topic, partition, bounds).await?,
                Times::Skip => None,
            };
            let groups = lags.iter().filter_map(of_group).collect();
            partitions.push(PartitionOverview { partition, bounds, times, groups });
        }
        Ok(Self { topic, partitions })
    }

    /// Offsets that are kept, over all partitions. Kafka gives some to its own marks, and what was
    /// compacted away counts too: there are at most so many records.
    pub fn offsets(&self) -> u64 {
        self.partitions.iter().map(|p| p.bounds.end.saturating_sub(p.bounds.start)).sum()
    }

    /// How far a group is behind, over all partitions.
    pub fn lag_of(&self, group: &str) -> u64 {
        let rows = self.partitions.iter().flat_map(|p| &p.groups);
        rows.filter(|row| row.group == group).map(|row| row.lag).sum()
    }
}

/// Times of the oldest and the newest record that are there to be seen.
async fn oldest_and_newest(
    log: &dyn Log,
    topic: &'static TopicSpec,
    partition: u32,
    Bounds { start, end }: Bounds,
) -> Result<Option<(i64, i64)>, LogError> {
    let first = Scan::open(log, topic, partition, StartAt::Earliest, end).await?.next().await?;
    let Some(oldest) = first.and_then(|batch| batch.records.first().map(|record| record.time_ms)) else {
        return Ok(None);
    };
    // The last offsets may be marks of transactions, or compacted away: look further back each time.
    let mut back = 4;
    loop {
        let from = end.saturating_sub(back).max(start);
        let mut scan = Scan::open(log, topic, partition, StartAt::Offset(from), end).await?;
        let mut newest = None;
        while let Some(batch) = scan.next().await? {
            newest = batch.records.last().map(|record| record.time_ms);
        }
        if let Some(newest) = newest {
            return Ok(Some((oldest, newest)));
        }
        if from == start {
            return Ok(None);
        }
        back *= 16;
    }
}
