//! How long nothing came: the longest time between two deliveries from one partition to the clients that
//! began at one gateway, around each fault. What other partitions and gateways go on with hides nothing.
//! Clients are looked at in turn, four times a second, so a figure may be a quarter of a second too long.

use std::collections::BTreeMap;

use super::fault::Kind;

/// Where deliveries come from and go to: (partition, gateway).
pub type Way = (u32, usize);

/// Pauses of delivery by what caused them.
#[derive(Debug, Clone, Default)]
pub struct Pauses {
    /// When each fault began, ms since 1970 UTC, in order.
    began: Vec<(i64, Kind)>,
    /// When something new last came by each way.
    by_way: BTreeMap<Way, i64>,
    /// When each client last saw something new.
    by_client: BTreeMap<usize, i64>,
    /// The longest pause around any fault of a kind, ms; `None` before the first fault.
    longest: BTreeMap<Option<Kind>, i64>,
}

impl Pauses {
    /// A fault begins.
    pub fn fault(&mut self, kind: Kind, now_ms: i64) {
        self.began.push((now_ms, kind));
    }

    /// A steady client saw something.
    pub fn seen(&mut self, client: usize, way: Way, time_ms: i64) {
        self.by_client.insert(client, time_ms);
        let last = self.by_way.entry(way).or_insert(time_ms);
        // Clients are looked at one after the other: their times are not in order.
        let before = std::mem::replace(last, time_ms.max(*last));
        let around = self.began.iter().rev().find(|(began, _)| *began <= time_ms).map(|(_, kind)| *kind);
        let longest = self.longest.entry(around).or_default();
        *longest = (*longest).max(time_ms - before);
    }

    /// When the client, and the way, that has waited longest last saw something. 0: a client never did.
    pub fn all_seen_since(&self, clients: usize) -> i64 {
        let of_client = |client| self.by_client.get(&client).copied().unwrap_or_default();
        let oldest_client = (0..clients).map(of_client).min().unwrap_or_default();
        self.by_way.values().copied().min().unwrap_or_default().min(oldest_client)
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
            pauses.seen(1, (0, 0), time);
        }
        pauses.fault(Kind::KillAll, 1_031);
        pauses.seen(1, (0, 0), 3_030);
        pauses.seen(0, (0, 0), 2_900);
        pauses.fault(Kind::StoreLocked, 3_100);
        pauses.seen(1, (0, 0), 3_110);
        assert_eq!(pauses.longest(None), Some(20));
        assert_eq!(pauses.longest(Some(Kind::KillAll)), Some(2_000));
        assert_eq!(pauses.longest(Some(Kind::StoreLocked)), Some(80));
        assert_eq!(pauses.longest(Some(Kind::DiskFull)), None);
    }

    #[test]
    fn what_other_partitions_deliver_hides_no_pause() {
        let mut pauses = Pauses::default();
        pauses.seen(0, (1, 0), 1_000);
        for time in (1_000..9_000).step_by(10) {
            pauses.seen(0, (0, 0), time);
        }
        assert_eq!(pauses.all_seen_since(1), 1_000);
        pauses.seen(0, (1, 0), 9_000);
        assert_eq!(pauses.longest(None), Some(8_000));
    }
}
