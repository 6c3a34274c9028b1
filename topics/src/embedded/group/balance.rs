//! Who gets which partition.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Hold, MemberId, MemberState, Presence, State};

impl MemberState {
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        match self.presence {
            Presence::Since(then) => Some(then + self.poll_interval_max),
            Presence::Inside | Presence::Overdue => None,
        }
    }
}

impl State {
    pub(super) fn knowing_owner(&self, partition: u32) -> Option<MemberId> {
        self.partitions.get(partition as usize).and_then(|partition| partition.hold.knowing_owner())
    }

    /// Moves partitions from one hold to another and names them.
    pub(super) fn tell(&mut self, from: Hold, to: Hold) -> Vec<u32> {
        let mut told = Vec::new();
        for (number, partition) in (0u32..).zip(&mut self.partitions) {
            if partition.hold == from {
                partition.hold = to;
                told.push(number);
            }
        }
        told
    }

    pub(super) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        for partition in &mut self.partitions {
            if partition.hold.owner() == Some(id) {
                partition.hold = Hold::Free;
            }
        }
    }

    /// Takes their partitions from members that stayed away for too long. Says whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let overdue = |member: &MemberState| member.overdue_at().is_some_and(|at| now > at);
        let late: Vec<MemberId> = self.members.iter().filter(|(_, m)| overdue(m)).map(|(&id, _)| id).collect();
        for &id in &late {
            let mut lost = Vec::new();
            for (number, partition) in (0u32..).zip(&mut self.partitions) {
                match partition.hold {
                    Hold::Held(owner) | Hold::Revoking(owner) | Hold::Revoked(owner) if owner == id => {
                        lost.push(number);
                        partition.hold = Hold::Free;
                    }
                    Hold::Granted(owner) if owner == id => partition.hold = Hold::Free,
                    Hold::Free | Hold::Granted(_) | Hold::Held(_) | Hold::Revoking(_) | Hold::Revoked(_) => {}
                }
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.presence = Presence::Overdue;
                // It may not have been told yet of what it lost before.
                member.lost.extend(lost);
            }
        }
        if !late.is_empty() {
            self.rebalance();
        }
        !late.is_empty()
    }

    /// Gives every member that is there its fair share, moving as few partitions as it takes.
    pub(super) fn rebalance(&mut self) {
        let mut shares: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
        for (&id, member) in &self.members {
            if member.presence != Presence::Overdue {
                shares.insert(id, Vec::new());
            }
        }
        if shares.is_empty() {
            return;
        }
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            if let Hold::Revoking(id) = partition.hold {
                partition.hold = Hold::Held(id);
            }
            match partition.hold {
                Hold::Granted(id) | Hold::Held(id) => shares.entry(id).or_default().push(number),
                // It leaves its owner in any case.
                Hold::Free | Hold::Revoking(_) | Hold::Revoked(_) => {}
            }
        }
        let (share, mut larger) = (self.partitions.len() / shares.len(), self.partitions.len() % shares.len());
        let mut by_size: Vec<_> = shares.into_iter().collect();
        by_size.sort_by_key(|(id, held)| (Reverse(held.len()), *id));
        let mut wanting = Vec::new();
        for (id, mut held) in by_size {
            let quota = share + usize::from(larger > 0);
            larger = larger.saturating_sub(1);
            for number in held.drain(quota.min(held.len())..) {
                let hold = &mut self.partitions[number].hold;
                *hold = if *hold == Hold::Granted(id) { Hold::Free } else { Hold::Revoking(id) };
            }
            wanting.extend(std::iter::repeat_n(id, quota - held.len()));
        }
        let mut wanting = wanting.into_iter();
        for partition in &mut self.partitions {
            if partition.hold == Hold::Free && partition.committing == 0 {
                let Some(id) = wanting.next() else { break };
                partition.hold = Hold::Granted(id);
            }
        }
    }
}
