//! The auditor: reads what the topics and the store hold, and judges it by the named invariants.
//!
//! It knows what is promised ([`stages::invariants`]), not how stages keep it. Positions of groups are
//! taken first, and only what lies below them is called missing: what is under way is no violation.
//! [`identities`] holds what `sequenced-messages` says; [`upstream`] compares what came before it,
//! [`chain`] and [`deliveries`] what comes behind it, [`store`] the store, [`lag`] what waits.
//!
//! Memory is bounded: partitions are looked at together until [`Scope::identities_max`] messages are
//! held (8 bytes each), then the next ones, with another scan of the store.

mod chain;
mod deliveries;
mod findings;
mod identities;
mod lag;
mod store;
mod upstream;

use std::collections::HashMap;

use stages::invariants::Invariant;
use stages::repo::store::{Store, StoreError};
use topics::catalogue::{SEQUENCED, TopicSpec};
use topics::log::{Bounds, Log, LogError, PartitionLag, StartAt};

pub use self::findings::{Counterexample, Findings, Location, Verdict};
use self::identities::Identities;
use self::store::StoreAudit;
use crate::topology::StageRole;

/// Messages of `sequenced-messages` that are held at once, by default: 256 MiB.
pub const IDENTITIES_MAX: u64 = 32 << 20;

/// What is looked at, and by which limits.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Now, ms since 1970 UTC.
    pub now_ms: i64,
    /// Only what came at this time or later, ms since 1970 UTC; `None`: everything that is kept.
    pub since_ms: Option<i64>,
    /// The window within which copies are one message.
    pub dedupe_window_ms: i64,
    /// Records that may wait for a group, over all partitions.
    pub lag_records_max: u64,
    /// Messages of `sequenced-messages` held at once.
    pub identities_max: u64,
}

impl Scope {
    fn from(&self) -> StartAt {
        self.since_ms.map_or(StartAt::Earliest, StartAt::Time)
    }
}

/// Something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Of the topics.
    #[error("the topics can't be looked at")]
    Log(#[from] LogError),
    /// Of the store.
    #[error("the store can't be looked at")]
    Store(#[from] StoreError),
}

/// Committed positions of the chain's groups, at one moment.
struct Positions(HashMap<(&'static str, &'static str), Vec<PartitionLag>>);

impl Positions {
    async fn take(log: &dyn Log) -> Result<Self, LogError> {
        let mut positions = HashMap::new();
        for (group, topic) in StageRole::ALL.map(StageRole::reads) {
            positions.insert((group, topic.name), log.lag(group, topic).await?);
        }
        Ok(Self(positions))
    }

    fn rows(&self, group: &'static str, topic: &TopicSpec) -> &[PartitionLag] {
        self.0.get(&(group, topic.name)).map_or(&[], Vec::as_slice)
    }

    fn of(&self, group: &'static str, topic: &TopicSpec, partition: u32) -> Option<u64> {
        self.rows(group, topic).iter().find(|row| row.partition == partition)?.committed
    }
}

/// Looks at everything once. `progress` hears what is being looked at.
///
/// # Errors
/// [`AuditError`] when the topics or the store can't be read.
pub async fn audit(
    log: &dyn Log,
    store: &dyn Store,
    scope: &Scope,
    mut progress: impl FnMut(&str),
) -> Result<Findings, AuditError> {
    let mut findings = Findings::default();
    let positions = Positions::take(log).await?;
    lag::look(log, scope, &positions, &mut findings).await?;
    for partitions in passes(log, scope).await? {
        let mut identities = Identities::default();
        let mut whole = HashMap::new();
        for partition in partitions {
            progress(&format!("topics, partition {partition}"));
            let Bounds { start, .. } = log.bounds(&SEQUENCED.spec, partition).await?;
            whole.insert(partition, start == 0 && scope.since_ms.is_none());
            chain::look(log, partition, scope, &positions, &mut identities, &mut findings).await?;
        }
        progress("deliveries");
        deliveries::look(log, scope, &whole, &identities, &mut findings).await?;
        progress("the store");
        let (identities, findings) = (&mut identities, &mut findings);
        StoreAudit { log, store, scope, partitions: &whole, identities, findings }.look().await?;
    }
    for invariant in Invariant::ALL {
        let looked_at = findings.verdicts().find(|(of, _)| *of == invariant).map_or(0, |(_, v)| v.looked_at);
        if looked_at == 0 {
            findings.note(invariant, "the topics and the store hold nothing that it could be judged by");
        }
    }
    Ok(findings)
}

/// Partitions that are looked at together.
async fn passes(log: &dyn Log, scope: &Scope) -> Result<Vec<Vec<u32>>, LogError> {
    let mut passes: Vec<Vec<u32>> = Vec::new();
    let mut room = 0;
    for partition in 0..log.layout().partitions(&SEQUENCED.spec) {
        let Bounds { start, end } = log.bounds(&SEQUENCED.spec, partition).await?;
        let messages = end - start;
        match passes.last_mut().filter(|_| messages <= room) {
            Some(pass) => {
                pass.push(partition);
                room -= messages;
            }
            None => {
                passes.push(vec![partition]);
                room = scope.identities_max.saturating_sub(messages);
            }
        }
    }
    Ok(passes)
}
