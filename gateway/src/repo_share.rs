//! Each user's share of the connection to the repo: how many of their calls are under way at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use schemas::ids::UserId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::lock::locked;

/// The shares of users with calls under way.
#[derive(Debug)]
pub struct Shares {
    calls_max: usize,
    users: Mutex<HashMap<UserId, InUse>>,
}

#[derive(Debug)]
struct InUse {
    permits: Arc<Semaphore>,
    calls: usize,
}

impl Shares {
    pub fn new(calls_max: usize) -> Self {
        Self { calls_max: calls_max.max(1), users: Mutex::default() }
    }

    /// The share of a user, for one call.
    pub fn of(self: &Arc<Self>, user: UserId) -> Share {
        let mut users = locked(&self.users);
        let new = || InUse { permits: Arc::new(Semaphore::new(self.calls_max)), calls: 0 };
        let in_use = users.entry(user).or_insert_with(new);
        in_use.calls += 1;
        Share { shares: self.clone(), user, permits: in_use.permits.clone() }
    }
}

/// A user's share, for one call that is under way or waits.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    user: UserId,
    permits: Arc<Semaphore>,
}

impl Share {
    /// Waits for the call's turn, first come, first served. It lasts as long as what is returned.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = locked(&self.shares.users);
        if let Some(in_use) = users.get_mut(&self.user) {
            in_use.calls -= 1;
            if in_use.calls == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn calls_over_the_share_of_a_user_wait_and_leave_nothing_behind() {
        let shares = Arc::new(Shares::new(2));
        let calls: Vec<_> = (0..3).map(|_| shares.of(UserId(1))).collect();
        let first = calls[0].turn().await.unwrap();
        let _second = calls[1].turn().await.unwrap();
        let mut third = Box::pin(calls[2].turn());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(shares.of(UserId(2)).turn().await.is_some(), "others are not affected");
        drop(first);
        assert!(third.as_mut().now_or_never().is_some());
        drop((third, _second));
        drop(calls);
        assert!(locked(&shares.users).is_empty());
    }
}
