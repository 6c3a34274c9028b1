//! At most one call in flight for a key: callers that arrive meanwhile share its answer.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

type Answer<V> = Shared<BoxFuture<'static, V>>;

/// Calls in flight by key, at most one for each caller.
pub(super) struct SingleFlight<K, V: Clone>(Mutex<Table<K, V>>);

struct Table<K, V: Clone> {
    calls: HashMap<K, Call<V>>,
    started: u64,
}

/// A call in flight. Its waiters keep it alive.
struct Call<V: Clone> {
    number: u64,
    answer: WeakShared<BoxFuture<'static, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> SingleFlight<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { calls: HashMap::new(), started: 0 }))
    }

    /// Joins the call in flight for this key, or starts this one.
    pub(super) async fn join(&self, key: K, call: impl Future<Output = V> + Send + 'static) -> V {
        let (mut waiter, answer) = self.wait_for(key, call);
        let answer = answer.await;
        waiter.completed = true;
        answer
    }

    /// Later callers start a new call.
    pub(super) fn forget(&self, key: &K) {
        self.lock().calls.remove(key);
    }

    fn wait_for(&self, key: K, call: impl Future<Output = V> + Send + 'static) -> (Waiter<'_, K, V>, Answer<V>) {
        let mut table = self.lock();
        let present = table.calls.get(&key).and_then(|call| Some((call.number, call.answer.upgrade()?)));
        let (number, answer) = present.unwrap_or_else(|| {
            table.started += 1;
            (table.started, call.boxed().shared())
        });
        // None: already complete; later callers start a new call.
        if let Some(answer) = answer.downgrade() {
            table.calls.insert(key.clone(), Call { number, answer });
        }
        (Waiter { calls: self, key, number, completed: false }, answer)
    }

    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits. The call leaves the table when it completes, or when its last waiter gives up.
struct Waiter<'a, K: Hash + Eq + Clone, V: Clone + Send + 'static> {
    calls: &'a SingleFlight<K, V>,
    key: K,
    number: u64,
    completed: bool,
}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> Drop for Waiter<'_, K, V> {
    fn drop(&mut self) {
        let mut table = self.calls.lock();
        let Some(call) = table.calls.get(&self.key).filter(|call| call.number == self.number) else { return };
        let others = call.answer.upgrade();
        if self.completed || others.is_none() {
            table.calls.remove(&self.key);
        }
        // Dropping the last waiter cancels the call: not under the lock.
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
        calls: SingleFlight<u8, u32>,
        started: Arc<AtomicU32>,
        may_complete: Arc<Semaphore>,
    }

    impl Calls {
        fn new() -> Self {
            Self { calls: SingleFlight::new(), started: Arc::default(), may_complete: Arc::new(Semaphore::new(0)) }
        }

        /// Answers with how many calls were started before it completed.
        fn ask(&self, key: u8) -> impl Future<Output = u32> {
            let (started, may_complete) = (Arc::clone(&self.started), Arc::clone(&self.may_complete));
            self.calls.join(key, async move {
                let number = started.fetch_add(1, Ordering::SeqCst) + 1;
                may_complete.acquire().await.unwrap().forget();
                number
            })
        }

        fn in_flight(&self) -> usize {
            self.calls.lock().calls.len()
        }
    }

    #[tokio::test]
    async fn callers_at_once_share_one_call_and_later_ones_begin_another() {
        let calls = Calls::new();
        // Polled last: until then all of them wait.
        let end = async { calls.may_complete.add_permits(2) };
        let (a, b, c, other, ()) = tokio::join!(calls.ask(1), calls.ask(1), calls.ask(1), calls.ask(2), end);
        assert_eq!((a, b, c, other), (1, 1, 1, 2));
        calls.may_complete.add_permits(1);
        assert_eq!(calls.ask(1).await, 3);
        assert_eq!(calls.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_call_lives_on_when_who_began_it_leaves_and_ends_with_the_last() {
        let calls = Calls::new();
        let (mut first, mut second) = (Box::pin(calls.ask(1)), Box::pin(calls.ask(1)));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        calls.may_complete.add_permits(1);
        assert_eq!(second.await, 1);
        let mut given_up = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert_eq!(calls.in_flight(), 0);
    }

    #[tokio::test]
    async fn who_asks_after_a_change_does_not_get_an_answer_from_before() {
        let calls = Calls::new();
        let mut before = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut before).is_pending());
        calls.calls.forget(&1);
        let mut after = Box::pin(calls.ask(1));
        assert!(futures::poll!(&mut after).is_pending());
        calls.may_complete.add_permits(2);
        assert_eq!((before.await, after.await), (1, 2));
        assert_eq!(calls.in_flight(), 0);
    }
}
