//! Limits failed logins: by user and address, by user, and by address.
//!
//! An attempt takes a token from all three limits before the password is checked, so that many attempts at once can't
//! pass; one that does not fail gives its tokens back. The first limit is the smallest: guessing from one address does
//! not lock the user out elsewhere. Nor does guessing from many: an address where the user has signed in before is
//! exempt from the limit that all addresses share.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::config::GatewayConfig;
use crate::lock::locked;
use crate::rate::RateLimiter;

#[derive(Debug)]
pub struct FailedLogins {
    of_user_at: RateLimiter<(String, IpAddr)>,
    of_user: RateLimiter<String>,
    of_address: RateLimiter<IpAddr>,
    entries_max: usize,
    /// Where users have signed in, the latest sign-ins only.
    known: Mutex<LruCache<(String, IpAddr), ()>>,
}

/// A login whose outcome is not known yet: it counts as failed until it is [forgiven](Self::forgive).
#[derive(Debug)]
#[must_use = "an attempt that is not forgiven counts as failed"]
pub struct Attempt<'a> {
    taken_from: &'a FailedLogins,
    user: String,
    address: IpAddr,
    is_known: bool,
}

impl FailedLogins {
    pub fn new(config: &GatewayConfig) -> Self {
        let entries_max = config.rate_entries_max;
        Self {
            of_user_at: RateLimiter::per_minute(config.failed_logins_a_minute_a_user_and_address, entries_max),
            of_user: RateLimiter::per_minute(config.failed_logins_a_minute_a_user, entries_max),
            of_address: RateLimiter::per_minute(config.failed_logins_a_minute_an_address, entries_max),
            entries_max,
            known: Mutex::new(LruCache::unbounded()),
        }
    }

    /// Counts a login as this user. The case of the name's letters makes no difference.
    ///
    /// # Errors
    /// How long to wait, when too many have failed.
    pub fn attempt(&self, username: &str, address: IpAddr, now: Instant) -> Result<Attempt<'_>, Duration> {
        let user = username.to_ascii_lowercase();
        let pair = (user, address);
        self.of_address.take(&address, now)?;
        if let Err(wait) = self.of_user_at.take(&pair, now) {
            self.of_address.give_back(&address);
            return Err(wait);
        }
        let is_known = locked(&self.known).get(&pair).is_some();
        if !is_known && let Err(wait) = self.of_user.take(&pair.0, now) {
            self.of_address.give_back(&address);
            self.of_user_at.give_back(&pair);
            return Err(wait);
        }
        Ok(Attempt { taken_from: self, user: pair.0, address, is_known })
    }
}

impl Attempt<'_> {
    /// For a login that did not fail by a wrong name or password.
    pub fn forgive(self) {
        let Self { taken_from, user, address, is_known } = self;
        taken_from.of_address.give_back(&address);
        if !is_known {
            taken_from.of_user.give_back(&user);
        }
        taken_from.of_user_at.give_back(&(user, address));
    }

    /// For a login with the right password: the user is known at the address from now on.
    pub fn succeeded(self) {
        let mut known = locked(&self.taken_from.known);
        known.put((self.user.clone(), self.address), ());
        if known.len() > self.taken_from.entries_max {
            known.pop_lru();
        }
        drop(known);
        self.forgive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> FailedLogins {
        FailedLogins::new(&GatewayConfig {
            failed_logins_a_minute_a_user_and_address: 3,
            failed_logins_a_minute_a_user: 7,
            failed_logins_a_minute_an_address: 5,
            ..GatewayConfig::default()
        })
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, n])
    }

    /// How many of many attempts are let through, all failing.
    fn failing(limits: &FailedLogins, user: &str, address: IpAddr, now: Instant) -> usize {
        (0..50).filter(|_| limits.attempt(user, address, now).is_ok()).count()
    }

    #[test]
    fn guessing_at_one_user_is_stopped_there_first() {
        let (limits, now) = (limits(), Instant::now());
        assert_eq!(failing(&limits, "ann", at(1), now), 3);
        assert_eq!(failing(&limits, "ANN", at(1), now), 0);
        assert_eq!(failing(&limits, "ann", at(2), now), 3, "elsewhere the user still gets in");
        assert_eq!(failing(&limits, "ann", at(3), now), 1, "until all places together are too many");
        assert_eq!(failing(&limits, "ben", at(1), now), 2, "and one address that tries everybody");
        assert_eq!(failing(&limits, "cleo", at(1), now), 0);
    }

    #[test]
    fn guessing_everywhere_locks_nobody_out_where_they_have_signed_in() {
        let (limits, now) = (limits(), Instant::now());
        limits.attempt("ann", at(9), now).unwrap().succeeded();
        assert_eq!((1..=3).map(|n| failing(&limits, "ann", at(n), now)).sum::<usize>(), 7);
        assert!(limits.attempt("ann", at(4), now).is_err(), "a place that is not known");
        limits.attempt("Ann", at(9), now).unwrap().succeeded();
        assert_eq!(failing(&limits, "ann", at(9), now), 3, "the limit of the place itself holds");
    }

    #[test]
    fn what_did_not_fail_is_not_counted() {
        let (limits, now) = (limits(), Instant::now());
        for _ in 0..50 {
            limits.attempt("ann", at(1), now).unwrap().forgive();
        }
        assert_eq!(failing(&limits, "ann", at(1), now), 3);
        let wait = limits.attempt("ann", at(1), now).unwrap_err();
        assert!(wait > Duration::from_secs(19) && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(failing(&limits, "ann", at(1), now + Duration::from_secs(21)), 1);
    }
}
