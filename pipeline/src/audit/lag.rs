//! `ARRIVES` and `BOUND` by what waits: no record is unread for longer than a minute, and no group is
//! further behind than what the gateway refuses at.

use stages::invariants::{ARRIVES_MS_MAX, Invariant};
use topics::log::{Log, LogError, StartAt};
use topics::scan::Scan;

use super::findings::{Findings, Location};
use super::scope::{Positions, Scope};
use crate::topology::STAGES;

/// Looks at each group of the chain.
pub async fn look(
    log: &dyn Log,
    scope: &Scope,
    positions: &Positions,
    findings: &mut Findings,
) -> Result<(), LogError> {
    for stage in STAGES {
        let (group, topic, rows) = (stage.name(), stage.input(), positions.rows(stage));
        let waiting: u64 = rows.iter().map(|row| row.records).sum();
        findings.looked_at(Invariant::Bound, 1);
        if waiting > scope.lag_records_max {
            let what = format!("{waiting} records wait for {group}; the limit is {}", scope.lag_records_max);
            findings.broken(Invariant::Bound, Location::Topic(topic), what);
        }
        for row in rows {
            findings.looked_at(Invariant::Arrives, 1);
            if row.records == 0 {
                continue;
            }
            let from = row.committed.map_or(StartAt::Earliest, StartAt::Offset);
            let oldest = Scan::open(log, topic, row.partition, from, row.end).await?.next().await?;
            let Some(oldest) = oldest.and_then(|batch| batch.records.into_iter().next()) else { continue };
            let waited_ms = scope.now_ms - oldest.time_ms;
            if waited_ms > ARRIVES_MS_MAX {
                let what = format!("it has waited for {group} for {} s", waited_ms / 1_000);
                findings.broken(Invariant::Arrives, Location::record(topic, row.partition, oldest.offset), what);
            }
        }
    }
    Ok(())
}
