//! Who is online at which gateway, in memory, from the `presence` topic.
//!
//! A gateway holds a slot under a lease; the lease's revision is the epoch. Users come and go on
//! (slot, epoch). An epoch older than the newest seen of its slot is dead, and so is a slot that was
//! silent for [`SLOT_SILENT_MS_MAX`]: what is sent to the dead is read by nobody.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use schemas::avro::PresenceEvent;
use schemas::ids::UserId;

/// A slot that was not heard of for longer is dead. Gateways beat every 5 s.
pub const SLOT_SILENT_MS_MAX: i64 = 15_000;

/// Users of dead epochs that one event cleans up at most: a gateway of a million users that comes
/// again does not make anybody wait.
const CLEANED_USERS_MAX: usize = 256;

/// One [`Presence`] that a reader of the topic writes and stages read.
pub type SharedPresence = Arc<RwLock<Presence>>;

/// Who is online where.
#[derive(Debug, Default)]
pub struct Presence {
    slots: BTreeMap<u32, Slot>,
    users: HashMap<UserId, Places>,
    /// Epochs that ended, with users that are still to be forgotten.
    ended: VecDeque<Ended>,
    version: u64,
}

#[derive(Debug)]
struct Slot {
    epoch: i64,
    heard_at: i64,
    users: HashSet<UserId>,
}

#[derive(Debug)]
struct Ended {
    slot: u32,
    epoch: i64,
    users: Vec<UserId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: u32,
    epoch: i64,
}

/// The places of one user, one a slot. Most have one: it needs no allocation.
#[derive(Debug)]
struct Places {
    first: Place,
    more: Vec<Place>,
}

/// Reads what is shared. A writer that panicked has left it between two events at worst.
pub(crate) fn read(presence: &SharedPresence) -> RwLockReadGuard<'_, Presence> {
    presence.read().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    /// Nobody is online.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody is online, yet; to be shared.
    pub fn shared() -> SharedPresence {
        Arc::default()
    }

    /// Takes an event of the topic in. What comes from a dead epoch is ignored.
    pub fn apply(&mut self, event: &PresenceEvent) {
        self.clean();
        match event {
            PresenceEvent::Slot(beat) => {
                let Ok(slot) = u32::try_from(beat.slot) else { return };
                self.hear(slot, beat.epoch, beat.at);
            }
            PresenceEvent::User(presence) => {
                let Ok(slot) = u32::try_from(presence.slot) else { return };
                let Some(held) = self.hear(slot, presence.epoch, presence.at) else { return };
                let place = Place { slot, epoch: presence.epoch };
                if presence.online && held.users.insert(presence.user_id) {
                    self.enter(presence.user_id, place);
                    self.version += 1;
                } else if !presence.online && held.users.remove(&presence.user_id) {
                    self.leave(presence.user_id, place);
                    self.version += 1;
                }
            }
        }
    }

    /// The slots that are alive, in order, with their epochs.
    pub fn live_slots(&self, now_ms: i64) -> impl Iterator<Item = (u32, i64)> {
        let live = self.slots.iter().filter(move |(_, held)| held.is_live(now_ms));
        live.map(|(&slot, held)| (slot, held.epoch))
    }

    /// Whether the newest epoch of a slot is this one, and alive.
    pub fn is_live(&self, slot: u32, epoch: i64, now_ms: i64) -> bool {
        self.slots.get(&slot).is_some_and(|held| held.epoch == epoch && held.is_live(now_ms))
    }

    /// The live slots where a user is, with their epochs.
    pub fn slots_of(&self, user: UserId, now_ms: i64) -> impl Iterator<Item = (u32, i64)> {
        self.places_of(user).filter(move |&(slot, epoch)| self.is_live(slot, epoch, now_ms))
    }

    /// Whether a user is on a live slot.
    pub fn is_online(&self, user: UserId, now_ms: i64) -> bool {
        self.slots_of(user, now_ms).next().is_some()
    }

    /// How many users are on a live slot; each is counted once. Walks over all users.
    pub fn online_count(&self, now_ms: i64) -> usize {
        self.users.keys().filter(|&&user| self.is_online(user, now_ms)).count()
    }

    /// How many users are held in memory, those of ended epochs that are still to be cleaned up among
    /// them.
    pub fn held_users(&self) -> usize {
        self.users.len()
    }

    /// Where a user is, on silent slots too. What this says for all users changes with
    /// [`version`](Self::version) only.
    pub(crate) fn places_of(&self, user: UserId) -> impl Iterator<Item = (u32, i64)> {
        let places = self.users.get(&user).into_iter().flat_map(Places::iter);
        places
            .filter(|place| self.slots.get(&place.slot).is_some_and(|held| held.epoch == place.epoch))
            .map(|place| (place.slot, place.epoch))
    }

    /// Rises when somebody came or left, or a slot got another epoch; not with a heartbeat.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The slot, when `epoch` is its newest.
    fn hear(&mut self, slot: u32, epoch: i64, at: i64) -> Option<&mut Slot> {
        let held = self.slots.entry(slot).or_insert_with(|| Slot { epoch, heard_at: at, users: HashSet::new() });
        if epoch > held.epoch {
            let fresh = Slot { epoch, heard_at: at, users: HashSet::new() };
            let Slot { epoch, users, .. } = std::mem::replace(held, fresh);
            self.ended.push_back(Ended { slot, epoch, users: users.into_iter().collect() });
            self.version += 1;
        }
        if epoch < held.epoch {
            return None;
        }
        held.heard_at = held.heard_at.max(at);
        Some(held)
    }

    fn enter(&mut self, user: UserId, place: Place) {
        self.users.entry(user).and_modify(|places| places.put(place)).or_insert(Places { first: place, more: vec![] });
    }

    fn leave(&mut self, user: UserId, place: Place) {
        if self.users.get_mut(&user).is_some_and(|places| places.remove(place) == Left::Nothing) {
            self.users.remove(&user);
        }
    }

    fn clean(&mut self) {
        for _ in 0..CLEANED_USERS_MAX {
            let Some(Ended { slot, epoch, users }) = self.ended.front_mut() else { return };
            let (place, user) = (Place { slot: *slot, epoch: *epoch }, users.pop());
            match user {
                Some(user) => self.leave(user, place),
                None => {
                    self.ended.pop_front();
                }
            }
        }
    }
}

impl Slot {
    fn is_live(&self, now_ms: i64) -> bool {
        now_ms - self.heard_at <= SLOT_SILENT_MS_MAX
    }
}

/// What is left of a user's places.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Something,
    Nothing,
}

impl Places {
    fn iter(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Takes the place in, instead of an older epoch of the same slot.
    fn put(&mut self, place: Place) {
        let mut places = std::iter::once(&mut self.first).chain(&mut self.more);
        match places.find(|known| known.slot == place.slot) {
            Some(known) => *known = place,
            None => self.more.push(place),
        }
    }

    fn remove(&mut self, place: Place) -> Left {
        self.more.retain(|known| *known != place);
        if self.first == place {
            match self.more.pop() {
                Some(other) => self.first = other,
                None => return Left::Nothing,
            }
        }
        Left::Something
    }
}
