//! Fans a message out to a large group, one page of its members at a time.
//!
//! A task is one page of one message. Working it emits the page's deliveries and the task of the next
//! page, which goes to the end of the queue: groups take turns, work continues at the same page
//! after a crash, and no group waits for a group of a million.
//!
//! The page of a user is hash(user) mod P. P is chosen at page 0 from the number of members and is
//! fixed while the group has tasks in flight: all messages of a member are then on one page, and keep
//! their order.
//!
//! The changelog is the INPUT topic itself: before it starts a partition, the runner restores this
//! stage from the tasks between the committed position and the end of `group-tasks`, which carry
//! the P in flight. [`Stage::process`] emits no changes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use schemas::ids::{GroupId, UserId};
use schemas::records::{GroupTask, Sequenced};

use crate::dispatch::{Audience, Dispatch, Sending, include};
use crate::membership::{LargeGroups, Limits, MemberChange, Members, MembershipSource, Need, Passing, page_of};
use crate::presence::{SharedPresence, read};
use crate::stage::{Context, Input, Outputs, Stage, StageError};

/// What an installation may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Members on a page, on average.
    pub page_members: usize,
    pub cache: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { page_members: 500, cache: Limits::default() }
    }
}

pub struct LargeGroup {
    presence: SharedPresence,
    members: Members,
    page_members: usize,
    partitions: BTreeMap<u32, HashMap<GroupId, InFlight>>,
    /// What the current batch changed, as it was before each change.
    before: Vec<Before>,
}

/// A group with messages whose first page is done and whose last page is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFlight {
    pages: usize,
    messages: usize,
}

#[derive(Debug)]
struct Before {
    partition: u32,
    group: GroupId,
    in_flight: Option<InFlight>,
}

impl LargeGroup {
    /// A stage that reads `presence`, which its caller keeps up to date, and asks `members` for groups.
    pub fn new(presence: SharedPresence, members: MembershipSource, config: Config) -> Self {
        Self {
            presence,
            members: Members::new(members, config.cache, LargeGroups::Held),
            page_members: config.page_members.max(1),
            partitions: BTreeMap::new(),
            before: Vec::new(),
        }
    }

    /// How many groups have tasks in flight.
    pub fn groups_in_flight(&self) -> usize {
        self.partitions.values().map(HashMap::len).sum()
    }

    fn in_flight(&self, partition: u32, group: GroupId) -> Option<InFlight> {
        self.partitions.get(&partition)?.get(&group).copied()
    }

    fn set_in_flight(&mut self, partition: u32, group: GroupId, now: Option<InFlight>) -> Result<(), StageError> {
        let Some(groups) = self.partitions.get_mut(&partition) else {
            return Err(StageError::not_assigned(Self::NAME, partition));
        };
        let in_flight = match now {
            Some(now) => groups.insert(group, now),
            None => groups.remove(&group),
        };
        self.before.push(Before { partition, group, in_flight });
        Ok(())
    }

    /// P of a message at its first page.
    fn pages_for(&mut self, partition: u32, group: GroupId) -> Result<usize, StageError> {
        match self.in_flight(partition, group) {
            Some(in_flight) => Ok(in_flight.pages),
            None => Ok(self.members.get(group)?.len().div_ceil(self.page_members).max(1)),
        }
    }

    /// Records that a page is done.
    fn worked(&mut self, partition: u32, group: GroupId, page: usize, pages: usize) -> Result<(), StageError> {
        let known = self.in_flight(partition, group);
        let messages = known.map_or(0, |in_flight| in_flight.messages);
        let (first, last) = (page == 0, page + 1 == pages);
        let messages = match (first, last) {
            (true, true) | (false, false) => return Ok(()),
            (true, false) => messages + 1,
            (false, true) => messages.saturating_sub(1),
        };
        let now = (messages > 0).then_some(InFlight { pages: known.map_or(pages, |known| known.pages), messages });
        self.set_in_flight(partition, group, now)
    }

    /// Who on this page gets the message; applies what it says about them.
    fn recipients(&mut self, group: GroupId, page: usize, message: &Sequenced) -> Result<Vec<UserId>, StageError> {
        let before = self.members.get(group)?.page(page);
        let pages = self.members.get(group)?.pages();
        let mut also = vec![message.sender_id];
        let mut users = before;
        if let Passing::Event { version, about, change } = Passing::of(message) {
            self.members.apply(group, page, &change, version)?;
            also.extend(about);
            match change {
                MemberChange::Enter(_) | MemberChange::Leave(_) | MemberChange::Nobody => {
                    users = self.members.get(group)?.page(page);
                }
                MemberChange::Everybody => {}
            }
        }
        also.retain(|&user| page_of(user, pages) == page);
        let mut users = Vec::clone(&users);
        include(&mut users, &also);
        Ok(users)
    }
}

impl Stage for LargeGroup {
    type In = GroupTask;
    type Out = Dispatch;
    type Change = GroupTask;

    const NAME: &str = "large-group";

    fn assigned(&mut self, partition: u32) {
        self.partitions.insert(partition, HashMap::new());
        self.members.clear();
    }

    /// Takes the tasks of the input topic from the committed position to its end.
    fn restore(&mut self, partition: u32, changes: Vec<GroupTask>) {
        let groups = self.partitions.entry(partition).or_default();
        for task in changes {
            // A task of page 0 has not begun: P is found, or chosen, when it is worked.
            if let Ok(Place { pages, page: 1.. }) = Place::of(&task) {
                groups.entry(task.group_id).or_insert(InFlight { pages, messages: 0 }).messages += 1;
            }
        }
    }

    fn revoked(&mut self, partition: u32) {
        self.partitions.remove(&partition);
        self.members.clear();
    }

    async fn prepare(&mut self, batch: &[Input<GroupTask>]) -> Result<(), StageError> {
        let need = |input: &Input<GroupTask>| {
            let task = &input.value;
            let in_flight = self.in_flight(input.source.partition, task.group_id);
            Need {
                group: task.group_id,
                page: usize::try_from(task.page).unwrap_or(0),
                pages: in_flight.map_or(1, |in_flight| in_flight.pages),
                change: Passing::of(&task.message).change(),
            }
        };
        let needs = batch.iter().map(need).collect();
        self.members.prepare(needs).await
    }

    fn process(
        &mut self,
        batch: Vec<Input<GroupTask>>,
        out: &mut Outputs<Dispatch, GroupTask>,
        _cx: &Context,
    ) -> Result<(), StageError> {
        let presence = self.presence.clone();
        let presence = read(&presence);
        for Input { source, headers, value: task } in batch {
            let group = task.group_id;
            let Place { page, pages } = Place::of(&task)?;
            let pages = if pages == 0 { self.pages_for(source.partition, group)? } else { pages };
            self.members.divide(group, pages)?;
            let users = self.recipients(group, page, &task.message)?;
            let to = Sending { presence: &presence, source, headers: &headers };
            let audience = Audience::of(&presence, users);
            match (Place { page, pages }).next(&task)? {
                Some(next) => {
                    audience.send(&to, task.message, &mut out.records);
                    out.records.push(to.output(Dispatch::Task(next)));
                }
                None => audience.send(&to, task.message, &mut out.records),
            }
            self.worked(source.partition, group, page, pages)?;
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.before.clear();
        self.members.keep();
    }

    fn aborted(&mut self) {
        for Before { partition, group, in_flight } in self.before.drain(..).rev() {
            let Some(groups) = self.partitions.get_mut(&partition) else { continue };
            match in_flight {
                Some(in_flight) => groups.insert(group, in_flight),
                None => groups.remove(&group),
            };
        }
        self.members.undo();
    }
}

impl fmt::Debug for LargeGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.groups_in_flight();
        f.debug_struct("LargeGroup").field("members", &self.members).field("groups_in_flight", &in_flight).finish()
    }
}

/// Page `page` of `pages`; `pages` is 0 until it is chosen.
#[derive(Debug, Clone, Copy)]
struct Place {
    page: usize,
    pages: usize,
}

impl Place {
    fn of(task: &GroupTask) -> Result<Self, StageError> {
        match (usize::try_from(task.page), usize::try_from(task.pages)) {
            (Ok(0), Ok(0)) => Ok(Self { page: 0, pages: 0 }),
            (Ok(page), Ok(pages)) if page < pages => Ok(Self { page, pages }),
            (Ok(_), Ok(_)) | (Err(_), _) | (_, Err(_)) => Err(StageError::Fatal {
                what: format!("group {} has a task of page {} of {}", task.group_id, task.page, task.pages),
                source: None,
            }),
        }
    }

    /// The task of the next page.
    fn next(self, task: &GroupTask) -> Result<Option<GroupTask>, StageError> {
        if self.page + 1 == self.pages {
            return Ok(None);
        }
        let (Ok(page), Ok(pages)) = (i32::try_from(self.page + 1), i32::try_from(self.pages)) else {
            let what = format!("group {} needs {} pages: give pages more members", task.group_id, self.pages);
            return Err(StageError::Fatal { what, source: None });
        };
        Ok(Some(GroupTask { group_id: task.group_id, page, pages, message: task.message.clone() }))
    }
}
