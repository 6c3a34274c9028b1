//! The table of a listener's connections, by the time since each finished a request.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::customer::customer;
use crate::limits::Limits;
use crate::reason::{Reason, Refusals};

/// Of each bound, one part in so many is for connections that are not [kept](Seat::keep), up to [`NOT_KEPT_MAX`].
const NOT_KEPT_SHARE: usize = 8;
const NOT_KEPT_MAX: usize = 1_024;
/// Connections that have lost their seat and are not closed yet; at the limit newcomers wait.
const LEAVING_MAX: usize = 32;

/// A kept connection would be one too many: of its address, or in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// A connection's place in the table; its drop frees it.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    seats: Arc<Seats>,
    lost: Arc<Notify>,
}

#[derive(Debug)]
pub struct Seats {
    limits: Limits,
    refusals: Refusals,
    listener: &'static str,
    table: Mutex<Table>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// The last id and turn that was given.
    last: u64,
    /// Connections that have lost their seat and are not closed yet.
    leaving: usize,
    seats: HashMap<u64, Taken>,
    all: Group,
    addresses: HashMap<IpAddr, Group>,
}

/// Seats that share a bound.
#[derive(Debug, Default)]
struct Group {
    taken: usize,
    kept: usize,
    /// Those that are not kept, by turn: the first has gone longest without finishing a request.
    turns: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Taken {
    peer: IpAddr,
    /// What it counts to; `None`: it is a proxy's.
    address: Option<IpAddr>,
    state: State,
    lost: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Loses its seat when nothing is finished, or begun, until then.
    Waits {
        turn: u64,
        until: Instant,
        for_what: Reason,
    },
    Kept,
}

impl Seats {
    pub fn new(listener: &'static str, limits: Limits) -> Self {
        let (refusals, table, left) = (Refusals::new(listener), Mutex::default(), Notify::new());
        Self { limits, refusals, listener, table, left }
    }

    /// Seats a connection, if need be in the place of another one.
    pub fn enter(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<Seat, Crowded> {
        let peer = peer.to_canonical();
        let proxied = self.limits.proxies.iter().any(|network| network.contains(&peer));
        let address = (!proxied).then(|| customer(peer));
        let mut table = self.table();
        let of_address = address.and_then(|address| table.addresses.get(&address));
        let crowded = if of_address.is_some_and(|group| group.taken >= self.limits.connections_an_address_max) {
            Some((Reason::Address, of_address.and_then(Group::first)))
        } else if table.all.taken >= self.limits.connections_max {
            Some((Reason::Full, table.all.first()))
        } else {
            None
        };
        let replaced = match crowded {
            Some((reason, None)) => {
                drop(table);
                self.refusals.tell(reason, peer);
                return Err(Crowded);
            }
            Some((_, Some(first))) => table.end(first),
            None => None,
        };
        table.last += 1;
        let (id, lost) = (table.last, Arc::new(Notify::new()));
        let state = State::Waits { turn: id, until: now + self.limits.request_time, for_what: Reason::Slow };
        table.seats.insert(id, Taken { peer, address, state, lost: lost.clone() });
        table.groups(address, |group| {
            group.taken += 1;
            group.turns.insert(id, id);
        });
        self.show(table);
        if let Some(replaced) = replaced {
            self.refusals.tell(Reason::Replaced, replaced);
        }
        Ok(Seat { id, seats: self.clone(), lost })
    }

    /// Ends the connections that are over their time.
    pub fn end_slow(&self, now: Instant) {
        let mut table = self.table();
        let is_over = |(&id, taken): (&u64, &Taken)| match taken.state {
            State::Waits { until, for_what, .. } if until <= now => Some((id, for_what)),
            State::Waits { .. } | State::Kept => None,
        };
        let over: Vec<_> = table.seats.iter().filter_map(is_over).collect();
        let ended: Vec<_> = over.into_iter().filter_map(|(id, reason)| Some((reason, table.end(id)?))).collect();
        self.show(table);
        ended.into_iter().for_each(|(reason, peer)| self.refusals.tell(reason, peer));
    }

    /// Ends the connection that has gone longest without finishing a request, after a failed accept, unless others are
    /// leaving.
    pub fn make_room(&self, error: &std::io::Error) {
        let mut table = self.table();
        if let Some(first) = table.all.first().filter(|_| table.leaving == 0) {
            table.end(first);
        }
        self.show(table);
        self.refusals.tell_of_error(error);
    }

    /// Whether so many connections are leaving that another one waits: they still have their descriptors.
    pub fn many_are_leaving(&self) -> bool {
        self.table().leaving >= LEAVING_MAX
    }

    /// Waits until a connection is closed.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    fn show(&self, table: MutexGuard<'_, Table>) {
        let taken = table.all.taken;
        drop(table);
        metrics::gauge!("gochat_connections_open", "listener" => self.listener).set(taken as f64);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn first(&self) -> Option<u64> {
        self.turns.first_key_value().map(|(_, &id)| id)
    }

    /// Whether one more can be kept.
    fn keeps_one_more(&self, max: usize) -> bool {
        self.kept < max - (max / NOT_KEPT_SHARE).min(NOT_KEPT_MAX)
    }
}

impl Table {
    /// Takes a connection out of the table, and wakes the task that serves it. Returns the address of its client; `None` when
    /// it was out already.
    fn end(&mut self, id: u64) -> Option<IpAddr> {
        let Taken { peer, address, state, lost } = self.seats.remove(&id)?;
        self.groups(address, |group| {
            group.taken -= 1;
            match state {
                State::Waits { turn, .. } => drop(group.turns.remove(&turn)),
                State::Kept => group.kept -= 1,
            }
        });
        if let Some(address) = address
            && self.addresses.get(&address).is_some_and(|group| group.taken == 0)
        {
            self.addresses.remove(&address);
        }
        self.leaving += 1;
        lost.notify_one();
        Some(peer)
    }

    /// Changes the groups that a seat counts to.
    fn groups(&mut self, address: Option<IpAddr>, mut change: impl FnMut(&mut Group)) {
        change(&mut self.all);
        if let Some(address) = address {
            change(self.addresses.entry(address).or_default());
        }
    }
}

impl Seat {
    /// Waits until the connection has to be closed. The future holds no reference to the seat.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let lost = self.lost.clone();
        async move { lost.notified().await }
    }

    /// The head of a request is there.
    pub fn begins(&self) {
        let until = Instant::now() + self.seats.limits.request_time;
        if let Some(Taken { state: State::Waits { until: at, for_what, .. }, .. }) =
            self.seats.table().seats.get_mut(&self.id)
        {
            (*at, *for_what) = (until, Reason::Slow);
        }
    }

    /// A request is answered: of all connections this one has finished the last.
    pub fn finishes(&self) {
        let until = Instant::now() + self.seats.limits.idle_time;
        let mut table = self.seats.table();
        let next = table.last + 1;
        let Some(Taken { address, state, .. }) = table.seats.get_mut(&self.id) else { return };
        let State::Waits { turn, .. } = *state else { return };
        *state = State::Waits { turn: next, until, for_what: Reason::Idle };
        let address = *address;
        table.last = next;
        table.groups(address, |group| {
            group.turns.remove(&turn);
            group.turns.insert(next, self.id);
        });
    }

    /// Keeps the connection for as long as both sides want: it is looked after elsewhere. A proxy's counts to `client` from
    /// now on.
    ///
    /// # Errors
    /// [`Crowded`], when that would be one too many; then nothing has changed.
    pub fn keep(&self, client: IpAddr) -> Result<(), Crowded> {
        let limits = &self.seats.limits;
        let mut table = self.seats.table();
        let Some(&Taken { peer, address, state, .. }) = table.seats.get(&self.id) else { return Err(Crowded) };
        let State::Waits { turn, .. } = state else { return Ok(()) };
        let client = address.unwrap_or_else(|| customer(client));
        let of_client = table.addresses.get(&client);
        let crowded = if of_client.is_some_and(|group| !group.keeps_one_more(limits.connections_an_address_max)) {
            Some(Reason::Address)
        } else {
            (!table.all.keeps_one_more(limits.connections_max)).then_some(Reason::Full)
        };
        if let Some(reason) = crowded {
            drop(table);
            self.seats.refusals.tell(reason, if address.is_some() { peer } else { client });
            return Err(Crowded);
        }
        if let Some(taken) = table.seats.get_mut(&self.id) {
            (taken.address, taken.state) = (Some(client), State::Kept);
        }
        table.groups(Some(client), |group| {
            group.turns.remove(&turn);
            group.kept += 1;
        });
        if address.is_none() {
            table.addresses.entry(client).or_default().taken += 1;
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        table.end(self.id);
        table.leaving -= 1;
        self.seats.show(table);
        self.seats.left.notify_one();
    }
}
