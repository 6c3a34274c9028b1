//! Turns at something scarce, shared fairly: clients take turns, whatever each has waiting, and when too many wait the
//! client with the most loses its newest.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Of so many turns in a row, one is for what can wait.
const TURNS_A_ROUND: u32 = 4;

/// A client by its address; all without one are one.
pub(super) type Client = Option<IpAddr>;

/// What is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Urgent,
    CanWait,
}

/// Clones share the turns.
#[derive(Debug, Clone)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting_max: usize,
    urgent: Line,
    can_wait: Line,
    /// Turns given so far.
    given: u32,
}

#[derive(Debug, Default)]
struct Line {
    /// Clients that have something waiting, in the order of their turns.
    order: VecDeque<Client>,
    waiting: HashMap<Client, VecDeque<oneshot::Sender<Turn>>>,
    count: usize,
}

/// Too many wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A turn; its end gives it to the next in line.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn(Option<FairQueue>);

impl FairQueue {
    /// `turns` at a time, while at most `waiting_max` wait.
    pub fn new(turns: usize, waiting_max: usize) -> Self {
        let state = State { free: turns, waiting_max, urgent: Line::default(), can_wait: Line::default(), given: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Full`], at once or later, when another has a better right to the place in line.
    pub async fn turn(&self, client: Client, urgency: Urgency) -> Result<Turn, Full> {
        let place = self.line_up(client, urgency)?;
        place.await.map_err(|_| Full)
    }

    fn line_up(&self, client: Client, urgency: Urgency) -> Result<oneshot::Receiver<Turn>, Full> {
        let (sender, place) = oneshot::channel();
        let mut state = self.lock();
        if state.urgent.count + state.can_wait.count >= state.waiting_max && state.free == 0 {
            state.make_room(client, urgency)?;
        }
        state.line(urgency).push(client, sender);
        let free = state.free > 0;
        state.free -= usize::from(free);
        drop(state);
        if free {
            self.hand_over();
        }
        Ok(place)
    }

    /// Gives one turn to the next that still waits for it.
    fn hand_over(&self) {
        loop {
            let mut state = self.lock();
            let Some(next) = state.next() else {
                state.free += 1;
                return;
            };
            drop(state);
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // It gave up. The turn goes to the next here, not by its end.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.hand_over();
        }
    }
}

impl State {
    fn line(&mut self, urgency: Urgency) -> &mut Line {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::CanWait => &mut self.can_wait,
        }
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.given = self.given.wrapping_add(1);
        let (first, second) = if self.given.is_multiple_of(TURNS_A_ROUND) {
            (&mut self.can_wait, &mut self.urgent)
        } else {
            (&mut self.urgent, &mut self.can_wait)
        };
        first.pop().or_else(|| second.pop())
    }

    /// Drops the newest of the client with the most waiting: first of what can wait, then of what is as urgent.
    fn make_room(&mut self, client: Client, urgency: Urgency) -> Result<(), Full> {
        if urgency == Urgency::Urgent && self.can_wait.drop_newest_of_longest(0) {
            return Ok(());
        }
        let line = self.line(urgency);
        let own = line.waiting.get(&client).map_or(0, VecDeque::len);
        if line.drop_newest_of_longest(own + 1) { Ok(()) } else { Err(Full) }
    }
}

impl Line {
    fn push(&mut self, client: Client, sender: oneshot::Sender<Turn>) {
        let waiting = self.waiting.entry(client).or_default();
        if waiting.is_empty() {
            self.order.push_back(client);
        }
        waiting.push_back(sender);
        self.count += 1;
    }

    /// The first of the client whose turn it is. The client goes to the end.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let client = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&client)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.order.push_back(client);
        }
        self.count -= usize::from(first.is_some());
        first
    }

    /// Whether a client had more than so many waiting, and lost one.
    fn drop_newest_of_longest(&mut self, more_than: usize) -> bool {
        let longest = self.waiting.iter_mut().max_by_key(|(_, waiting)| waiting.len());
        let Some((&client, waiting)) = longest.filter(|(_, waiting)| waiting.len() > more_than) else { return false };
        waiting.pop_back();
        self.count -= 1;
        if waiting.is_empty() {
            self.waiting.remove(&client);
            self.order.retain(|&other| other != client);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::Urgency::{CanWait, Urgent};
    use super::*;

    fn at(n: u8) -> Client {
        Some(IpAddr::from([203, 0, 113, n]))
    }

    /// Ends turns one by one, and tells in which order these places come to theirs.
    fn order(places: &mut Vec<(&'static str, oneshot::Receiver<Turn>)>, first: Turn) -> Vec<&'static str> {
        let (mut order, mut now) = (Vec::new(), Some(first));
        while let Some(ended) = now.take() {
            drop(ended);
            let come = places.iter_mut().position(|(_, place)| match place.try_recv() {
                Ok(turn) => now.replace(turn).is_none(),
                Err(_) => false,
            });
            order.extend(come.map(|at| places.remove(at).0));
        }
        order
    }

    #[test]
    fn clients_take_turns_and_what_is_urgent_goes_first() {
        let queue = FairQueue::new(1, 100);
        let first = queue.line_up(at(1), Urgent).unwrap().try_recv().unwrap();
        let mut places = Vec::new();
        for (name, n, urgency) in
            [("r1", 3, CanWait), ("a1", 1, Urgent), ("a2", 1, Urgent), ("a3", 1, Urgent), ("b1", 2, Urgent)]
        {
            places.push((name, queue.line_up(at(n), urgency).unwrap()));
        }
        assert_eq!(order(&mut places, first), ["a1", "b1", "r1", "a2", "a3"], "every fourth turn is for what can wait");
        assert!(queue.line_up(at(4), CanWait).unwrap().try_recv().is_ok(), "the turn is free again");
    }

    #[test]
    fn a_full_line_costs_the_one_with_the_most_in_it() {
        let queue = FairQueue::new(1, 3);
        let turn = queue.line_up(at(1), Urgent).unwrap().try_recv().unwrap();
        let mut of_crowd: Vec<_> = (0..3).map(|_| queue.line_up(at(5), CanWait).unwrap()).collect();
        assert_eq!(queue.line_up(at(5), CanWait).unwrap_err(), Full);
        let mut of_other = queue.line_up(at(6), CanWait).unwrap();
        assert_eq!(of_crowd[2].try_recv().unwrap_err(), TryRecvError::Closed, "the newest of the crowd made room");
        let _logins: Vec<_> = (0..3).map(|_| queue.line_up(at(2), Urgent).unwrap()).collect();
        assert_eq!(of_other.try_recv().unwrap_err(), TryRecvError::Closed, "logins come before registrations");
        assert_eq!(queue.line_up(at(7), CanWait).unwrap_err(), Full);
        drop(turn);
    }

    #[test]
    fn who_gives_up_in_line_or_with_a_turn_passes_it_on() {
        let queue = FairQueue::new(1, 9);
        let turn = queue.line_up(at(1), Urgent).unwrap().try_recv().unwrap();
        let (gone, taken) = (queue.line_up(at(2), Urgent).unwrap(), queue.line_up(at(4), Urgent).unwrap());
        let mut last = queue.line_up(at(8), Urgent).unwrap();
        drop(gone);
        drop(turn);
        drop(taken);
        assert!(last.try_recv().is_ok());
    }
}
