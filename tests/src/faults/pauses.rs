//! How long nothing came: the longest time between two deliveries to a steady client, around each fault.

use std::collections::BTreeMap;

use super::fault::Kind;

/// Pauses of delivery by what caused them.
#[derive(Debug, Clone, Default)]
pub struct Pauses {
    /// When each fault began, ms since 1970 UTC, in order.
    began: Vec<(i64, Kind)>,
    /// When each client last saw something new.
    last: BTreeMap<u64, i64>,
    /// The longest pause around any fault of a kind, ms; `None` before the first fault.
    longest: BTreeMap<Option<Kind>, i64>,
}

impl Pauses {
    /// A fault begins.
    pub fn fault(&mut self, kind: Kind, now_ms: i64) {
        self.began.push((now_ms, kind));
    }

    /// A steady client saw something.
    pub fn seen(&mut self, client: u64, time_ms: i64) {
        let Some(before) = self.last.insert(client, time_ms) else { return };
        let around = self.began.iter().rev().find(|(began, _)| *began <= time_ms).map(|(_, kind)| *kind);
        let longest = self.longest.entry(around).or_default();
        *longest = (*longest).max(time_ms - before);
    }

    /// When a client last saw something.
    pub fn last_seen(&self, client: u64) -> i64 {
        self.last.get(&client).copied().unwrap_or_default()
    }

    /// The longest pause around faults of a kind, ms; of `None`, before any fault.
    pub fn longest(&self, kind: Option<Kind>) -> Option<i64> {
        self.longest.get(&kind).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_for_the_fault_that_began_last_before_it_ended() {
        let mut pauses = Pauses::default();
        for time in [1_000, 1_010, 1_030] {
            pauses.seen(1, time);
        }
        pauses.fault(Kind::KillAll, 1_031);
        pauses.seen(1, 3_030);
        pauses.seen(2, 3_040);
        pauses.fault(Kind::StoreLocked, 3_100);
        pauses.seen(1, 3_110);
        assert_eq!(pauses.longest(None), Some(20));
        assert_eq!(pauses.longest(Some(Kind::KillAll)), Some(2_000));
        assert_eq!(pauses.longest(Some(Kind::StoreLocked)), Some(80));
        assert_eq!(pauses.longest(Some(Kind::DiskFull)), None);
    }
}
