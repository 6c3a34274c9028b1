//! Groups as the repo would have them: changes raise the version and give an event.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupEvent, Sequenced};
use stages::membership::{Membership, MembershipSource};

use crate::records::{ANN, NOW, of_kind};

/// The truth about groups, shared with the source that it gives to stages.
#[derive(Clone, Default)]
pub struct Groups(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    groups: HashMap<GroupId, Membership>,
    /// The groups of each call.
    calls: Vec<Vec<GroupId>>,
    away: bool,
}

impl Groups {
    /// Users 1 up to and with `members` are in the group.
    pub fn with(group: GroupId, members: i64) -> Self {
        let groups = Self::default();
        groups.set(group, 1, (1..=members).map(UserId));
        groups
    }

    pub fn set(&self, group_id: GroupId, version: i64, members: impl IntoIterator<Item = UserId>) {
        let membership = Membership { group_id, version, large: false, members: members.into_iter().collect() };
        self.0.lock().unwrap().groups.insert(group_id, membership);
    }

    /// The repo knows that the group was large once.
    pub fn set_large(&self, group: GroupId) {
        self.0.lock().unwrap().groups.get_mut(&group).unwrap().large = true;
    }

    /// Whether the repo answers.
    pub fn set_away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    /// The groups that were asked for since the last time, a list a call.
    pub fn calls(&self) -> Vec<Vec<GroupId>> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    pub fn members(&self, group: GroupId) -> BTreeSet<UserId> {
        self.0.lock().unwrap().groups[&group].members.iter().copied().collect()
    }

    /// Changes the group and returns the event of it.
    pub fn change(&self, kind: Kind, group: GroupId, users: &[UserId], seq: i64) -> Sequenced {
        let mut state = self.0.lock().unwrap();
        let membership = state.groups.get_mut(&group).unwrap();
        membership.version += 1;
        match kind {
            Kind::Joined => membership.members.extend(users),
            Kind::Left | Kind::Removed => membership.members.retain(|user| !users.contains(user)),
            Kind::Dissolved => membership.members.clear(),
            _ => {}
        }
        event(kind, group, membership.version, users, seq)
    }

    pub fn source(&self) -> MembershipSource {
        let shared = Arc::clone(&self.0);
        Arc::new(move |wanted| {
            let mut state = shared.lock().unwrap();
            let found = wanted.iter().filter_map(|group| state.groups.get(group).cloned()).collect();
            state.calls.push(wanted);
            let answer = if state.away { Err("the repo is away".into()) } else { Ok(found) };
            Box::pin(async move { answer })
        })
    }
}

/// An event of a group at a version, done by Ann.
pub fn event(kind: Kind, group_id: GroupId, version: i64, users: &[UserId], seq: i64) -> Sequenced {
    let event = GroupEvent { group_id, version, actor_id: ANN, user_ids: users.to_vec(), name: None, role: None };
    let mut record = of_kind(kind, ConversationId::Group(group_id), ANN, &seq.to_string());
    record.content = serde_json::to_string(&event).unwrap().into();
    record.identified(MessageId(1_000 + seq), Seq(seq), 0, NOW)
}
