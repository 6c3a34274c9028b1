//! Who is online at which gateway, in memory, from the `presence` topic.
//!
//! A gateway holds a slot under a lease; the lease's revision is the epoch. Users come and go on
//! (slot, epoch). An epoch older than the newest seen of its slot is dead, and so is a slot that was
//! silent for [`SLOT_SILENT_MS_MAX`] while others were heard: what is sent to the dead is read by nobody.
//!
//! Time is the topic's: the log-append times of its records, whatever the clocks of gateways and of
//! this machine say. It stands still while nobody is heard, since that is how a log that is away looks
//! from here. So the only gateway there is never dies, and what is sent to it costs nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use schemas::avro::PresenceEvent;
use schemas::ids::UserId;

/// A slot that was not heard of for longer is dead, while others are. Gateways beat every 5 s.
pub const SLOT_SILENT_MS_MAX: i64 = 15_000;

/// Longer gaps between two records are everybody's silence, and not counted as anybody's.
const GAP_MS_MAX: i64 = SLOT_SILENT_MS_MAX / 2;

/// Users of dead epochs that one event cleans up at most: a gateway of a million users that comes
/// again does not make anybody wait.
const CLEANED_USERS_MAX: usize = 256;

/// One [`Presence`] that a reader of the topic writes and stages read.
pub type SharedPresence = Arc<RwLock<Presence>>;

/// Which users are online, and on which gateway slots.
#[derive(Debug, Default)]
pub struct Presence {
    slots: BTreeMap<u32, Slot>,
    users: HashMap<UserId, Places>,
    /// Epochs that ended, with users that are still to be forgotten.
    ended: VecDeque<Ended>,
    version: u64,
    time: TopicTime,
}

/// What an event means for those who ask who is online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nobody came or left.
    Nothing,
    /// One user came to a slot, or left it.
    User(UserId),
    /// A slot died, came back or got another epoch: all of its users may have come or left.
    Slots,
}

/// Time as the topic tells it.
#[derive(Debug, Default)]
struct TopicTime {
    /// Milliseconds in which somebody was heard.
    passed_ms: i64,
    /// Log-append time of the newest record.
    appended_ms: Option<i64>,
}

#[derive(Debug)]
struct Slot {
    epoch: i64,
    /// By the topic's time.
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
pub fn read(presence: &SharedPresence) -> RwLockReadGuard<'_, Presence> {
    presence.read().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody is online, yet; to be shared.
    pub fn shared() -> SharedPresence {
        Arc::default()
    }

    /// Takes an event of the topic in, with its log-append time. What comes from a dead epoch is ignored.
    pub fn apply(&mut self, event: &PresenceEvent, appended_ms: i64) -> Change {
        self.clean();
        let before = self.time.passed_ms;
        self.time.pass_to(appended_ms);
        let now = self.time.passed_ms;
        let died = self.slots.values().any(|held| held.is_live(before) && !held.is_live(now));
        let (heard, moved) = match event {
            PresenceEvent::Slot(beat) => (self.hear(beat.slot, beat.epoch), None),
            PresenceEvent::User(presence) => match self.hear(presence.slot, presence.epoch) {
                Heard::Outdated => (Heard::Outdated, None),
                heard @ (Heard::Again | Heard::Anew) => (heard, self.place(presence)),
            },
        };
        if died || heard == Heard::Anew {
            return Change::Slots;
        }
        moved.map_or(Change::Nothing, Change::User)
    }

    /// The slots that are alive, in order, with their epochs.
    pub fn live_slots(&self) -> impl Iterator<Item = (u32, i64)> {
        let now = self.time.passed_ms;
        let live = self.slots.iter().filter(move |(_, held)| held.is_live(now));
        live.map(|(&slot, held)| (slot, held.epoch))
    }

    /// Whether the newest epoch of a slot is this one, and alive.
    pub fn is_live(&self, slot: u32, epoch: i64) -> bool {
        self.slots.get(&slot).is_some_and(|held| held.epoch == epoch && held.is_live(self.time.passed_ms))
    }

    /// The newest epoch that was heard of a slot.
    pub fn newest_epoch(&self, slot: u32) -> Option<i64> {
        self.slots.get(&slot).map(|held| held.epoch)
    }

    /// The live slots where a user is, with their epochs.
    pub fn slots_of(&self, user: UserId) -> impl Iterator<Item = (u32, i64)> {
        self.places_of(user).filter(move |&(slot, epoch)| self.is_live(slot, epoch))
    }

    /// Whether a user is on a live slot.
    pub fn is_online(&self, user: UserId) -> bool {
        self.slots_of(user).next().is_some()
    }

    /// How many users are on a live slot; each is counted once. Walks over all users.
    pub fn online_count(&self) -> usize {
        self.users.keys().filter(|&&user| self.is_online(user)).count()
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

    fn hear(&mut self, slot: i32, epoch: i64) -> Heard {
        let Ok(slot) = u32::try_from(slot) else { return Heard::Outdated };
        let heard_at = self.time.passed_ms;
        let fresh = || Slot { epoch, heard_at, users: HashSet::new() };
        let Some(held) = self.slots.get_mut(&slot) else {
            self.slots.insert(slot, fresh());
            return Heard::Anew;
        };
        if epoch < held.epoch {
            return Heard::Outdated;
        }
        if epoch > held.epoch {
            let Slot { epoch, users, .. } = std::mem::replace(held, fresh());
            self.ended.push_back(Ended { slot, epoch, users: users.into_iter().collect() });
            self.version += 1;
            return Heard::Anew;
        }
        let was_live = held.is_live(heard_at);
        held.heard_at = heard_at;
        if was_live { Heard::Again } else { Heard::Anew }
    }

    /// The user, when they were not there already, or not gone already.
    fn place(&mut self, presence: &schemas::records::Presence) -> Option<UserId> {
        let slot = u32::try_from(presence.slot).ok()?;
        let held = self.slots.get_mut(&slot)?;
        let (user, place) = (presence.user_id, Place { slot, epoch: presence.epoch });
        let changed = if presence.online { held.users.insert(user) } else { held.users.remove(&user) };
        match (changed, presence.online) {
            (true, true) => self.enter(user, place),
            (true, false) => self.leave(user, place),
            (false, _) => return None,
        }
        self.version += 1;
        Some(user)
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

impl TopicTime {
    /// A record was appended at this time. Another broker's clock may be behind that of the one before.
    fn pass_to(&mut self, appended_ms: i64) {
        let gap_ms = self.appended_ms.map_or(0, |before| appended_ms.saturating_sub(before));
        if (0..=GAP_MS_MAX).contains(&gap_ms) {
            self.passed_ms += gap_ms;
        }
        self.appended_ms = Some(appended_ms);
    }
}

impl Slot {
    fn is_live(&self, now_ms: i64) -> bool {
        now_ms - self.heard_at <= SLOT_SILENT_MS_MAX
    }
}

/// What a record says of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// An older epoch, or no slot at all.
    Outdated,
    /// The slot was known to be alive.
    Again,
    /// It is new, or alive again.
    Anew,
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
