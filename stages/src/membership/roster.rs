//! The members of one group, divided into pages.

use std::sync::Arc;

use schemas::ids::{GroupId, UserId};
use xxhash_rust::xxh3::xxh3_64;

use super::{MemberChange, Membership, SMALL_GROUP_MEMBERS_MAX};

/// The version of a group that does not exist: above that of every event.
const GONE: i64 = i64::MAX;

/// The page of a user: hash(user) mod pages, the same in every process and version, since pages of a
/// message may be worked before and after an update.
pub(crate) fn page_of(user: UserId, pages: usize) -> usize {
    (xxh3_64(&user.0.to_be_bytes()) % pages.max(1) as u64) as usize
}

/// The members of a group. A page has a version of its own: a change about a user is applied on the
/// user's page, in its turn among the messages of that page.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    large: bool,
    /// At least one.
    pages: Vec<Page>,
}

#[derive(Debug, Clone, Default)]
struct Page {
    version: i64,
    /// By id, each once. A change makes another list, so that who holds one can tell.
    members: Arc<Vec<UserId>>,
}

impl Roster {
    pub(crate) fn new(membership: Membership, pages: usize) -> Self {
        let Membership { group_id: _, version, large, members } = membership;
        let large = large || members.len() > SMALL_GROUP_MEMBERS_MAX;
        Self { large, pages: divided(members, version, pages) }
    }

    /// A group that does not exist, or no more: no event about it has anything to say.
    pub(crate) fn gone(group_id: GroupId, pages: usize) -> Self {
        Self::new(Membership { group_id, version: GONE, large: false, members: Vec::new() }, pages)
    }

    /// Whether the group does not exist.
    pub(crate) fn is_gone(&self) -> bool {
        self.newest() == GONE
    }

    /// The group has, or once had, too many members to be fanned out at once.
    pub(crate) fn is_large(&self) -> bool {
        self.large
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.iter().map(|page| page.members.len()).sum()
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The members of a page, by id.
    pub(crate) fn page(&self, page: usize) -> Arc<Vec<UserId>> {
        self.pages.get(page).map(|page| Arc::clone(&page.members)).unwrap_or_default()
    }

    /// The version of a page.
    pub(crate) fn version(&self, page: usize) -> i64 {
        self.pages.get(page).map_or_else(|| self.newest(), |page| page.version)
    }

    /// Applies a change to the members of one page.
    pub(crate) fn apply(&mut self, page: usize, change: &MemberChange, version: i64) {
        let pages = self.pages.len();
        let Some(changed) = self.pages.get_mut(page) else { return };
        changed.version = version;
        match change {
            MemberChange::Enter(users) => {
                let mut members = Vec::clone(&changed.members);
                members.extend(users.iter().filter(|&&user| page_of(user, pages) == page));
                members.sort_unstable();
                members.dedup();
                changed.members = Arc::new(members);
            }
            MemberChange::Leave(users) => {
                let stay = |user: &&UserId| !users.contains(user);
                changed.members = Arc::new(changed.members.iter().filter(stay).copied().collect());
            }
            MemberChange::Everybody => changed.members = Arc::default(),
            MemberChange::Nobody => {}
        }
        self.large |= self.len() > SMALL_GROUP_MEMBERS_MAX;
    }

    /// Divides the members into so many pages anew.
    pub(crate) fn divide(&mut self, pages: usize) {
        let version = self.newest();
        let members = self.pages.iter().flat_map(|page| page.members.iter().copied()).collect();
        self.pages = divided(members, version, pages);
    }

    pub(crate) fn forget_members(&mut self) {
        self.pages.iter_mut().for_each(|page| page.members = Arc::default());
    }

    fn newest(&self) -> i64 {
        self.pages.iter().map(|page| page.version).max().unwrap_or(0)
    }
}

fn divided(mut members: Vec<UserId>, version: i64, pages: usize) -> Vec<Page> {
    members.sort_unstable();
    members.dedup();
    if pages <= 1 {
        return vec![Page { version, members: Arc::new(members) }];
    }
    let mut divided = vec![Vec::new(); pages];
    members.into_iter().for_each(|user| divided[page_of(user, pages)].push(user));
    divided.into_iter().map(|members| Page { version, members: Arc::new(members) }).collect()
}
