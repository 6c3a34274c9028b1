//! One call at a time for a key: who asks while it is under way waits for the same answer.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

type Answer<V> = Shared<BoxFuture<'static, V>>;

/// Calls under way, by key: at most as many as there are callers.
pub(super) struct Flights<K, V: Clone>(Mutex<Table<K, V>>);

struct Table<K, V: Clone> {
    flights: HashMap<K, Flight<V>>,
    begun: u64,
}

/// Kept alive by those who wait for it.
struct Flight<V: Clone> {
    number: u64,
    answer: WeakShared<BoxFuture<'static, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { flights: HashMap::new(), begun: 0 }))
    }

    /// The answer of the call under way for this key, or else of this one.
    pub(super) async fn join(&self, key: K, call: impl Future<Output = V> + Send + 'static) -> V {
        let (mut seat, answer) = self.board(key, call);
        let answer = answer.await;
        seat.arrived = true;
        answer
    }

    /// Who asks from now on gets an answer from after this moment.
    pub(super) fn forget(&self, key: &K) {
        self.lock().flights.remove(key);
    }

    fn board(&self, key: K, call: impl Future<Output = V> + Send + 'static) -> (Seat<'_, K, V>, Answer<V>) {
        let mut table = self.lock();
        let present = table.flights.get(&key).and_then(|flight| Some((flight.number, flight.answer.upgrade()?)));
        let (number, answer) = present.unwrap_or_else(|| {
            table.begun += 1;
            (table.begun, call.boxed().shared())
        });
        // None: it has arrived this moment, and is not for those who come now.
        if let Some(answer) = answer.downgrade() {
            table.flights.insert(key.clone(), Flight { number, answer });
        }
        (Seat { flights: self, key, number, arrived: false }, answer)
    }

    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a flight. It is taken off the table once it has arrived, or the last one who
/// waited for it has gone.
struct Seat<'a, K: Hash + Eq + Clone, V: Clone + Send + 'static> {
    flights: &'a Flights<K, V>,
    key: K,
    number: u64,
    arrived: bool,
}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        let Some(flight) = table.flights.get(&self.key).filter(|flight| flight.number == self.number) else { return };
        let others = flight.answer.upgrade();
        if self.arrived || others.is_none() {
            table.flights.remove(&self.key);
        }
        // What it ran may end here: not under the lock.
        drop(table);
        drop(others);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    struct Calls {
        flights: Flights<u8, u32>,
        begun: Arc<AtomicU32>,
        may_end: Arc<Semaphore>,
    }

    impl Calls {
        fn new() -> Self {
            Self { flights: Flights::new(), begun: Arc::default(), may_end: Arc::new(Semaphore::new(0)) }
        }

        /// Answers with how many calls were begun before it ended.
        fn ask(&self, key: u8) -> impl Future<Output = u32> {
            let (begun, may_end) = (Arc::clone(&self.begun), Arc::clone(&self.may_end));
            self.flights.join(key, async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                may_end.acquire().await.unwrap().forget();
                number
            })
        }

        fn under_way(&self) -> usize {
            self.flights.lock().flights.len()
        }
    }

    #[tokio::test]
    async fn callers_at_once_share_one_call_and_later_ones_begin_another() {
        let calls = Calls::new();
        // Polled last: until then all of them wait.
        let end = async { calls.may_end.add_permits(2) };
        let (a, b, c, other, ()) = tokio::join!(calls.ask(1), calls.ask(1), calls.ask(1), calls.ask(2), end);
        assert_eq!((a, b, c, other), (1, 1, 1, 2));
        calls.may_end.add_permits(1);
        assert_eq!(calls.ask(1).await, 3);
        assert_eq!(calls.under_way(), 0);
    }

    #[tokio::test]
    async fn a_call_lives_on_when_who_began_it_leaves_and_ends_with_the_last() {
        let calls = Calls::new();
        let (mut first, mut second) = (Box::pin(calls.ask(1)), Box::pin(calls.ask(1)));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        calls.may_end.add_permits(1);
        assert_eq!(second.await, 1);
        let mut given_up = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert_eq!(calls.under_way(), 0);
    }

    #[tokio::test]
    async fn who_asks_after_a_change_does_not_get_an_answer_from_before() {
        let calls = Calls::new();
        let mut before = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut before).is_pending());
        calls.flights.forget(&1);
        let mut after = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut after).is_pending());
        calls.may_end.add_permits(2);
        assert_eq!((before.await, after.await), (1, 2));
        assert_eq!(calls.under_way(), 0);
    }
}
