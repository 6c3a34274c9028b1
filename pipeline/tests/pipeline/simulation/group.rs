//! A consumer group as its coordinator sees it: who is a member, who owns what, and how far it is.
//!
//! What the coordinator decides a member learns only when it asks for its next event; until then it
//! goes on with what it was told.

use std::collections::{BTreeMap, VecDeque};

use super::broker::TransactionId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What a member is told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Assigned(u32),
    Revoked(u32),
    Lost(Vec<u32>),
}

#[derive(Debug)]
struct Joined {
    instance: String,
    inbox: VecDeque<Told>,
    /// It was silent for too long; it comes back with its next call.
    evicted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Free,
    Held(MemberId),
    /// Shall be given up; the owner does so when it was told and calls again.
    Revoking(MemberId),
    Revoked(MemberId),
}

impl Hold {
    fn owner(self) -> Option<MemberId> {
        match self {
            Self::Free => None,
            Self::Held(id) | Self::Revoking(id) | Self::Revoked(id) => Some(id),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Owned {
    hold: Hold,
    committed: Option<u64>,
    /// A position that an open transaction would commit: until it ends nobody can tell the position.
    pending: Option<(TransactionId, u64)>,
    /// Who is to get the partition last, when there is another.
    not_to: Option<MemberId>,
}

#[derive(Debug)]
pub struct Group {
    pub name: String,
    /// Index of its topic.
    pub topic: usize,
    members: BTreeMap<MemberId, Joined>,
    partitions: Vec<Owned>,
}

impl Group {
    pub fn new(name: String, topic: usize, partitions: u32) -> Self {
        let owned = Owned { hold: Hold::Free, committed: None, pending: None, not_to: None };
        Self { name, topic, members: BTreeMap::new(), partitions: vec![owned; partitions as usize] }
    }

    /// Takes in a member in the place of any former one of its name.
    pub fn join(&mut self, id: MemberId, instance: &str) {
        let former: Vec<_> = self.members.iter().filter(|(_, m)| m.instance == instance).map(|(&id, _)| id).collect();
        former.into_iter().for_each(|former| self.remove(former));
        let joined = Joined { instance: instance.to_owned(), inbox: VecDeque::new(), evicted: false };
        self.members.insert(id, joined);
        self.settle();
    }

    pub fn leave(&mut self, id: MemberId) {
        self.remove(id);
        self.settle();
    }

    /// Takes everything from the member of this name, which does not know yet. Says whether there is one.
    pub fn evict(&mut self, instance: &str) -> bool {
        let Some((&id, member)) = self.members.iter_mut().find(|(_, member)| member.instance == instance) else {
            return false;
        };
        let untold: Vec<_> = member.inbox.drain(..).collect();
        let knows = |partition: u32| !untold.contains(&Told::Assigned(partition));
        let lost_before = untold.iter().flat_map(|told| match told {
            Told::Lost(partitions) => partitions.as_slice(),
            Told::Assigned(_) | Told::Revoked(_) => &[],
        });
        let mut lost: Vec<u32> = lost_before.copied().collect();
        for (number, owned) in (0..).zip(&mut self.partitions) {
            if owned.hold.owner() == Some(id) {
                owned.hold = Hold::Free;
                if knows(number) {
                    lost.push(number);
                }
            }
        }
        member.evicted = true;
        member.inbox.push_back(Told::Lost(lost));
        self.settle();
        true
    }

    /// How many members the coordinator believes to be there.
    pub fn members_present(&self) -> usize {
        self.counts().len()
    }

    pub fn has(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    /// A member calls for its next event: it is back if it was away, and gives up what it was told to.
    /// Says whether that changed anything.
    pub fn call(&mut self, id: MemberId) -> bool {
        let mut changed = false;
        if let Some(member) = self.members.get_mut(&id) {
            changed = std::mem::take(&mut member.evicted);
        }
        for owned in &mut self.partitions {
            if owned.hold == Hold::Revoked(id) {
                owned.hold = Hold::Free;
                changed = true;
            }
        }
        if changed {
            self.settle();
        }
        changed
    }

    /// What a member is told next. With `certain`, an assignment comes only once its position is.
    pub fn tell(&mut self, id: MemberId, certain: bool) -> Option<Told> {
        let member = self.members.get_mut(&id)?;
        match member.inbox.front()? {
            Told::Assigned(partition) if certain && self.partitions[*partition as usize].pending.is_some() => None,
            Told::Assigned(_) | Told::Lost(_) => member.inbox.pop_front(),
            Told::Revoked(partition) => {
                self.partitions[*partition as usize].hold = Hold::Revoked(id);
                member.inbox.pop_front()
            }
        }
    }

    pub fn committed(&self, partition: u32) -> Option<u64> {
        self.partitions[partition as usize].committed
    }

    /// Whether a member may commit the positions of these partitions: they are its own, and it knows.
    pub fn admits(&self, id: MemberId, positions: &[(u32, u64)]) -> bool {
        let Some(member) = self.members.get(&id).filter(|member| !member.evicted) else { return false };
        positions.iter().all(|&(partition, _)| {
            let owned = self.partitions[partition as usize].hold.owner() == Some(id);
            owned && !member.inbox.contains(&Told::Assigned(partition))
        })
    }

    pub fn commit(&mut self, positions: &[(u32, u64)]) {
        for &(partition, position) in positions {
            self.partitions[partition as usize].committed = Some(position);
        }
    }

    pub fn begin(&mut self, transaction: TransactionId, positions: &[(u32, u64)]) {
        for &(partition, position) in positions {
            self.partitions[partition as usize].pending = Some((transaction, position));
        }
    }

    pub fn end_transaction(&mut self, transaction: TransactionId, committed: bool) {
        for owned in &mut self.partitions {
            if let Some((_, position)) = owned.pending.take_if(|(by, _)| *by == transaction)
                && committed
            {
                owned.committed = Some(position);
            }
        }
    }

    /// Moves a partition away from its owner, in good order. Says whether it could.
    pub fn shift(&mut self, partition: u32) -> bool {
        let Hold::Held(owner) = self.partitions[partition as usize].hold else { return false };
        self.partitions[partition as usize].not_to = Some(owner);
        self.revoke(partition, owner);
        true
    }

    fn revoke(&mut self, partition: u32, owner: MemberId) {
        let Some(member) = self.members.get_mut(&owner) else { return };
        let hold = &mut self.partitions[partition as usize].hold;
        if let Some(untold) = member.inbox.iter().position(|told| *told == Told::Assigned(partition)) {
            member.inbox.remove(untold);
            *hold = Hold::Free;
            self.settle();
        } else {
            member.inbox.push_back(Told::Revoked(partition));
            *hold = Hold::Revoking(owner);
        }
    }

    fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        for owned in &mut self.partitions {
            if owned.hold.owner() == Some(id) {
                owned.hold = Hold::Free;
            }
        }
    }

    /// Gives what is free to whoever has the least, and begins to move one partition if that evens out.
    fn settle(&mut self) {
        for partition in 0..self.partitions.len() {
            let Owned { hold, not_to, .. } = self.partitions[partition];
            if hold != Hold::Free {
                continue;
            }
            let mut present = self.counts();
            present.sort_by_key(|&(id, count)| (Some(id) == not_to, count, id));
            let Some(&(id, _)) = present.first() else { return };
            self.partitions[partition].hold = Hold::Held(id);
            self.partitions[partition].not_to = None;
            if let Some(member) = self.members.get_mut(&id) {
                member.inbox.push_back(Told::Assigned(u32::try_from(partition).unwrap()));
            }
        }
        let moving = |owned: &Owned| matches!(owned.hold, Hold::Revoking(_) | Hold::Revoked(_));
        let mut present = self.counts();
        present.sort_by_key(|&(id, count)| (count, id));
        if let (Some(&(_, least)), Some(&(rich, most))) = (present.first(), present.last())
            && most >= least + 2
            && !self.partitions.iter().any(moving)
            && let Some(partition) = self.partitions.iter().position(|owned| owned.hold == Hold::Held(rich))
        {
            self.revoke(u32::try_from(partition).unwrap(), rich);
        }
    }

    /// The members that are present, with how many partitions each has.
    fn counts(&self) -> Vec<(MemberId, usize)> {
        let count = |id| self.partitions.iter().filter(|owned| owned.hold.owner() == Some(id)).count();
        self.members.iter().filter(|(_, member)| !member.evicted).map(|(&id, _)| (id, count(id))).collect()
    }
}
