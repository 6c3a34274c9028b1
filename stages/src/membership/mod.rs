//! Who is in which group: loaded once, then kept right by the events that pass.
//!
//! A snapshot comes with its version; a change of a group raises the version by one and passes the
//! chain as an event that carries it. An event at or below the known version is in the snapshot
//! already, the next one is applied, and a jump means that events were missed: the group is loaded
//! anew.

mod event;
mod roster;

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use lru::LruCache;
use schemas::ids::{GroupId, UserId};

pub(crate) use self::event::{MemberChange, Passing};
pub(crate) use self::roster::{Roster, page_of};
use crate::stage::StageError;

/// A group with more members is large: its messages are fanned out page by page.
pub const SMALL_GROUP_MEMBERS_MAX: usize = 500;

/// The members of a group at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub group_id: GroupId,
    /// Raised by one with each change of the group.
    pub version: i64,
    /// The group has, or once had, more than [`SMALL_GROUP_MEMBERS_MAX`] members.
    pub large: bool,
    /// In no particular order.
    pub members: Vec<UserId>,
}

/// Answers with the memberships of those of the groups that exist. It must read where the newest
/// change is seen: an answer older than an event that has passed is asked for again.
pub type MembershipSource = Arc<
    dyn Fn(Vec<GroupId>) -> BoxFuture<'static, Result<Vec<Membership>, Box<dyn Error + Send + Sync>>> + Send + Sync,
>;

/// How much a cache of memberships holds after a batch. During one it also holds all the groups of
/// the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub groups_max: usize,
    /// Members, over all groups; 8 bytes each.
    pub members_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { groups_max: 100_000, members_max: 10_000_000 }
    }
}

/// Whether a cache holds the members of large groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LargeGroups {
    Held,
    /// It only knows that they are large.
    Marked,
}

/// A bounded cache of memberships. The least recently used groups are given up first.
pub struct Members {
    source: MembershipSource,
    limits: Limits,
    large_groups: LargeGroups,
    rosters: LruCache<GroupId, Roster>,
    /// Members in `rosters`.
    held: usize,
    /// Groups that the batch at hand changed, as they were before each change.
    before: Vec<(GroupId, Roster)>,
    /// Groups that do not exist; asked for again with the next batch that names them.
    gone: Vec<GroupId>,
}

/// A group that a batch needs, and what the batch says of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) group: GroupId,
    pub(crate) page: usize,
    /// Into how many pages the group is to be divided when it is loaded.
    pub(crate) pages: usize,
    pub(crate) change: Change,
}

/// What a record says of its group's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The group changed to this version.
    To(i64),
    /// The group changed, to what could not be read.
    Unreadable,
}

impl Members {
    pub fn new(source: MembershipSource, limits: Limits, large_groups: LargeGroups) -> Self {
        Self {
            source,
            limits,
            large_groups,
            rosters: LruCache::unbounded(),
            held: 0,
            before: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub fn groups(&self) -> usize {
        self.rosters.len()
    }

    /// How many members are held, over all groups.
    pub fn held_members(&self) -> usize {
        self.held
    }

    /// Loads what a batch needs and is not there, or was overtaken by events, in one call.
    pub(crate) async fn prepare(&mut self, needs: Vec<Need>) -> Result<(), StageError> {
        let missing = self.missing(&needs, UnreadableIs::Stale);
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<GroupId> = missing.iter().copied().collect();
        let pages: HashMap<GroupId, usize> = needs.iter().map(|need| (need.group, need.pages)).collect();
        let answer = (self.source)(groups.clone()).await.map_err(|error| {
            StageError::retry(
                format!("the members of {} groups could not be loaded: is the repo running?", groups.len()),
                error,
            )
        })?;
        let mut found: HashMap<GroupId, Membership> = answer.into_iter().map(|found| (found.group_id, found)).collect();
        for group in groups {
            let pages = pages.get(&group).copied().unwrap_or(1);
            self.insert(group, found.remove(&group), pages);
        }
        match self.missing(&needs, UnreadableIs::Known).first() {
            None => Ok(()),
            Some(group) => {
                let what = format!(
                    "the repo's members of group {group} are older than an event that has passed: does it read from a replica?"
                );
                Err(StageError::Retry { what, source: None })
            }
        }
    }

    /// A group of the batch at hand.
    ///
    /// # Errors
    /// When [`prepare`](Self::prepare) did not get it.
    pub(crate) fn get(&mut self, group: GroupId) -> Result<&Roster, StageError> {
        self.rosters.get(&group).ok_or_else(|| not_prepared(group))
    }

    /// Applies a change to one page of a group, unless it is in there already.
    pub(crate) fn apply(
        &mut self,
        group: GroupId,
        page: usize,
        change: &MemberChange,
        version: i64,
    ) -> Result<(), StageError> {
        let roster = self.rosters.get_mut(&group).ok_or_else(|| not_prepared(group))?;
        if roster.version(page) >= version {
            return Ok(());
        }
        self.before.push((group, roster.clone()));
        let former = roster.len();
        roster.apply(page, change, version);
        self.large_groups.restrict(roster);
        self.held = self.held + roster.len() - former;
        Ok(())
    }

    /// Divides a group into so many pages, unless it is.
    pub(crate) fn divide(&mut self, group: GroupId, pages: usize) -> Result<(), StageError> {
        let roster = self.rosters.get_mut(&group).ok_or_else(|| not_prepared(group))?;
        if roster.pages() != pages {
            self.before.push((group, roster.clone()));
            roster.divide(pages);
        }
        Ok(())
    }

    /// The batch at hand is committed: its changes stay, and what is over the limits goes.
    pub(crate) fn keep(&mut self) {
        self.before.clear();
        self.forget_gone();
        while self.rosters.len() > self.limits.groups_max || self.held > self.limits.members_max {
            let Some((_, roster)) = self.rosters.pop_lru() else { break };
            self.held -= roster.len();
        }
    }

    /// The batch at hand is not committed: its changes go.
    pub(crate) fn undo(&mut self) {
        for (group, before) in std::mem::take(&mut self.before).into_iter().rev() {
            self.replace(group, before);
        }
        self.forget_gone();
    }

    /// Forgets all: events of a partition that is given up do not pass here any more.
    pub(crate) fn clear(&mut self) {
        self.rosters.clear();
        self.before.clear();
        self.gone.clear();
        self.held = 0;
    }

    fn forget_gone(&mut self) {
        for group in self.gone.drain(..) {
            if self.rosters.peek(&group).is_some_and(Roster::is_gone) {
                self.rosters.pop(&group);
            }
        }
    }

    fn insert(&mut self, group: GroupId, found: Option<Membership>, pages: usize) {
        let was_large = self.rosters.peek(&group).is_some_and(Roster::is_large);
        let mut roster = match found {
            Some(found) => Roster::new(Membership { large: found.large || was_large, ..found }, pages),
            None => {
                self.gone.push(group);
                Roster::gone(group, pages)
            }
        };
        self.large_groups.restrict(&mut roster);
        self.replace(group, roster);
    }

    fn replace(&mut self, group: GroupId, roster: Roster) {
        self.held += roster.len();
        if let Some(former) = self.rosters.put(group, roster) {
            self.held -= former.len();
        }
    }

    /// The groups that are not there, or that events of the batch have overtaken.
    fn missing(&self, needs: &[Need], unreadable: UnreadableIs) -> BTreeSet<GroupId> {
        let mut versions: HashMap<(GroupId, usize), i64> = HashMap::new();
        let mut missing = BTreeSet::new();
        for need in needs {
            let Some(roster) = self.rosters.peek(&need.group) else {
                missing.insert(need.group);
                continue;
            };
            if roster.is_large() && self.large_groups == LargeGroups::Marked {
                continue;
            }
            match need.change {
                Change::None => {}
                Change::Unreadable if unreadable == UnreadableIs::Known => {}
                Change::Unreadable => {
                    missing.insert(need.group);
                }
                Change::To(version) => {
                    let known = versions.entry((need.group, need.page)).or_insert_with(|| roster.version(need.page));
                    if version.saturating_sub(1) > *known {
                        missing.insert(need.group);
                    }
                    *known = version.max(*known);
                }
            }
        }
        missing
    }
}

/// Whether a change that could not be read asks for the group to be loaded: until it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnreadableIs {
    Stale,
    Known,
}

impl LargeGroups {
    fn restrict(self, roster: &mut Roster) {
        match self {
            Self::Held => {}
            Self::Marked if roster.is_large() => roster.forget_members(),
            Self::Marked => {}
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("groups", &self.rosters.len()).field("members", &self.held).finish()
    }
}

fn not_prepared(group: GroupId) -> StageError {
    StageError::Fatal { what: format!("the members of group {group} were not loaded before its message"), source: None }
}
