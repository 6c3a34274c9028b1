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
mod scope;
mod store;
mod upstream;

use std::collections::HashMap;

use stages::invariants::Invariant;
use stages::repo::store::Store;
use topics::catalogue::SEQUENCED;
use topics::log::{Bounds, Log, LogError};

pub use self::findings::{Counterexample, Findings, Location, Verdict};
use self::identities::Identities;
use self::scope::Positions;
pub use self::scope::{AuditError, Scope};
use self::store::StoreAudit;

/// Messages of `sequenced-messages` that are held at once, by default: 256 MiB.
pub const IDENTITIES_MAX: u64 = 32 << 20;

/// Looks at everything once. `progress` hears what is being looked at.
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
