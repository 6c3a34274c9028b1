//! A consumer group: who owns which partition, as a state machine without I/O.
//!
//! Rebalancing is cooperative (KIP-429): a partition that shall move is first revoked, and moves once
//! its owner has seen that and called again. Membership is static (KIP-345): a member of the same
//! name replaces the former one at once. A member that stays away for its `poll_interval_max` loses
//! its partitions. There is no timer: every call looks who is overdue, and members that wait for
//! partitions wake when the next one could be.

mod balance;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock::locked;
use crate::catalogue::TopicSpec;
use crate::log::{Assigned, Event, LogError};

/// The members of a group that read one topic.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    topic: &'static TopicSpec,
    /// Told when a member may have an event.
    pub changed: Notify,
    state: Mutex<State>,
}

/// Names a member; a later one of the same instance has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(u64);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    members: BTreeMap<MemberId, MemberState>,
    partitions: Vec<PartitionState>,
}

#[derive(Debug)]
struct MemberState {
    instance: String,
    poll_interval_max: Duration,
    presence: Presence,
    lost: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// In a call right now.
    Inside,
    /// Its last call ended then.
    Since(Instant),
    /// It stayed away for too long.
    Overdue,
}

#[derive(Debug, Clone, Copy, Default)]
struct PartitionState {
    hold: Hold,
    /// Commits that are being written. Until they are, nobody new gets the partition, for the
    /// position could still change.
    committing: u32,
    committed: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Free,
    /// Its owner does not know yet.
    Granted(MemberId),
    Held(MemberId),
    /// To be moved; its owner does not know yet.
    Revoking(MemberId),
    /// Its owner knows, and gives it up with its next call.
    Revoked(MemberId),
}

impl Hold {
    fn owner(self) -> Option<MemberId> {
        match self {
            Self::Free => None,
            Self::Granted(id) | Self::Held(id) | Self::Revoking(id) | Self::Revoked(id) => Some(id),
        }
    }

    /// The owner, once it was told. What an owner has in hand before is from an earlier ownership.
    fn knowing_owner(self) -> Option<MemberId> {
        match self {
            Self::Free | Self::Granted(_) => None,
            Self::Held(id) | Self::Revoking(id) | Self::Revoked(id) => Some(id),
        }
    }
}

impl Group {
    /// A group without members.
    pub fn new(name: String, topic: &'static TopicSpec, committed: Vec<Option<u64>>) -> Self {
        let partition = |committed| PartitionState { committed, ..PartitionState::default() };
        let partitions = committed.into_iter().map(partition).collect();
        Self { name, topic, changed: Notify::new(), state: Mutex::new(State { partitions, ..State::default() }) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic that its members read.
    pub fn topic(&self) -> &'static TopicSpec {
        self.topic
    }

    /// Takes in a member; a former one of the same name is out.
    pub fn join(&self, instance: &str, poll_interval_max: Duration, now: Instant) -> MemberId {
        let mut state = locked(&self.state);
        state.expire(now);
        let former = state.members.iter().find(|(_, member)| member.instance == instance).map(|(&id, _)| id);
        if let Some(former) = former {
            state.remove(former);
        }
        state.last_id += 1;
        let id = MemberId(state.last_id);
        let presence = Presence::Since(now);
        let member = MemberState { instance: instance.into(), poll_interval_max, presence, lost: Vec::new() };
        state.members.insert(id, member);
        state.rebalance();
        self.changed.notify_waiters();
        id
    }

    /// A member begins a call. It counts as alive until the returned guard is dropped.
    ///
    /// # Errors
    /// [`LogError::Fenced`].
    pub fn enter<'a>(&'a self, id: MemberId, instance: &str, now: Instant) -> Result<Inside<'a>, LogError> {
        let mut state = locked(&self.state);
        if state.expire(now) {
            self.changed.notify_waiters();
        }
        let Some(member) = state.members.get_mut(&id) else { return Err(self.fenced(instance)) };
        let was_overdue = member.presence == Presence::Overdue;
        member.presence = Presence::Inside;
        if was_overdue {
            state.rebalance();
            self.changed.notify_waiters();
        }
        Ok(Inside { group: self, id })
    }

    /// A member comes for the next event: partitions that it knows to be revoked move on.
    pub fn give_up_revoked(&self, id: MemberId) {
        let mut state = locked(&self.state);
        let mut any = false;
        for partition in &mut state.partitions {
            if partition.hold == Hold::Revoked(id) {
                partition.hold = Hold::Free;
                any = true;
            }
        }
        if any {
            state.rebalance();
            self.changed.notify_waiters();
        }
    }

    /// Events that a member has not received yet.
    ///
    /// # Errors
    /// [`LogError::Fenced`].
    pub fn event(&self, id: MemberId, instance: &str, now: Instant) -> Result<Option<Event>, LogError> {
        let mut state = locked(&self.state);
        if state.expire(now) {
            self.changed.notify_waiters();
        }
        let Some(member) = state.members.get_mut(&id) else { return Err(self.fenced(instance)) };
        if !member.lost.is_empty() {
            return Ok(Some(Event::Lost(std::mem::take(&mut member.lost))));
        }
        let revoked = state.tell(Hold::Revoking(id), Hold::Revoked(id));
        if !revoked.is_empty() {
            return Ok(Some(Event::Revoked(revoked)));
        }
        let granted = state.tell(Hold::Granted(id), Hold::Held(id));
        if granted.is_empty() {
            return Ok(None);
        }
        let assigned =
            |partition: u32| Assigned { partition, committed: state.partitions[partition as usize].committed };
        Ok(Some(Event::Assigned(granted.into_iter().map(assigned).collect())))
    }

    /// When the next member is overdue, should it not call before.
    pub fn next_overdue(&self) -> Option<Instant> {
        locked(&self.state).members.values().filter_map(MemberState::overdue_at).min()
    }

    /// Whether a member has a partition and knows of it: it may commit its position.
    pub fn owns(&self, id: MemberId, partition: u32) -> bool {
        locked(&self.state).knowing_owner(partition) == Some(id)
    }

    /// Begins a commit: until [`settle`](Self::settle) the partitions are not reassigned.
    ///
    /// # Errors
    /// [`LogError::Fenced`] when the member, or one of the partitions, is not in its place any more.
    pub fn admit(&self, id: MemberId, instance: &str, positions: &[(u32, u64)]) -> Result<(), LogError> {
        let mut state = locked(&self.state);
        let owns_all = positions.iter().all(|&(partition, _)| state.knowing_owner(partition) == Some(id));
        if !state.members.contains_key(&id) || !owns_all {
            return Err(self.fenced(instance));
        }
        for &(partition, _) in positions {
            state.partitions[partition as usize].committing += 1;
        }
        Ok(())
    }

    /// Ends a commit that was admitted.
    pub fn settle(&self, positions: &[(u32, u64)], outcome: Outcome) {
        let mut state = locked(&self.state);
        let mut any_waits = false;
        for &(partition, position) in positions {
            let partition = &mut state.partitions[partition as usize];
            partition.committing -= 1;
            any_waits |= partition.hold == Hold::Free;
            match outcome {
                Outcome::Written => partition.committed = Some(position),
                Outcome::Failed => {}
            }
        }
        if any_waits {
            state.rebalance();
            self.changed.notify_waiters();
        }
    }

    pub fn leave(&self, id: MemberId) {
        let mut state = locked(&self.state);
        state.remove(id);
        state.rebalance();
        self.changed.notify_waiters();
    }

    /// How many members there are that did not stay away for too long.
    pub fn members(&self) -> usize {
        let mut state = locked(&self.state);
        if state.expire(Instant::now()) {
            self.changed.notify_waiters();
        }
        state.members.values().filter(|member| member.presence != Presence::Overdue).count()
    }

    /// The committed positions, by partition.
    pub fn committed(&self) -> Vec<Option<u64>> {
        locked(&self.state).partitions.iter().map(|partition| partition.committed).collect()
    }

    /// The committed position of a partition.
    pub fn committed_of(&self, partition: u32) -> Option<u64> {
        locked(&self.state).partitions.get(partition as usize).and_then(|partition| partition.committed)
    }

    /// The error of a member that is not one any more.
    pub fn fenced(&self, instance: &str) -> LogError {
        LogError::Fenced { group: self.name.clone(), instance: instance.into() }
    }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Written,
    /// Nothing of it is there.
    Failed,
}

/// A member is in a call.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    group: &'a Group,
    id: MemberId,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(member) = locked(&self.group.state).members.get_mut(&self.id) {
            member.presence = Presence::Since(Instant::now());
        }
    }
}
