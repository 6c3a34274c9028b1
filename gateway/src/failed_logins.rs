//! Limits failed logins: by user and address, by user, and by address.
//!
//! An attempt takes a token from all three limits before the password is checked, so that many attempts at once can't
//! pass; one that does not fail gives its tokens back. The first limit is the smallest: guessing from one address does
//! not lock the user out elsewhere.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::GatewayConfig;
use crate::rate::RateLimiter;

#[derive(Debug)]
pub struct FailedLogins {
    of_user_at: RateLimiter<(String, IpAddr)>,
    of_user: RateLimiter<String>,
    of_address: RateLimiter<IpAddr>,
}

/// A login whose outcome is not known yet: it counts as failed until it is [forgiven](Self::forgive).
#[derive(Debug)]
#[must_use = "an attempt that is not forgiven counts as failed"]
pub struct Attempt<'a> {
    taken_from: &'a FailedLogins,
    user: String,
    address: IpAddr,
}

impl FailedLogins {
    pub fn new(config: &GatewayConfig) -> Self {
        let entries_max = config.rate_entries_max;
        Self {
            of_user_at: RateLimiter::per_minute(config.failed_logins_a_minute_a_user_and_address, entries_max),
            of_user: RateLimiter::per_minute(config.failed_logins_a_minute_a_user, entries_max),
            of_address: RateLimiter::per_minute(config.failed_logins_a_minute_an_address, entries_max),
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
        if let Err(wait) = self.of_user.take(&pair.0, now) {
            self.of_address.give_back(&address);
            self.of_user_at.give_back(&pair);
            return Err(wait);
        }
        Ok(Attempt { taken_from: self, user: pair.0, address })
    }
}

impl Attempt<'_> {
    /// For a login that did not fail by a wrong name or password.
    pub fn forgive(self) {
        let Self { taken_from, user, address } = self;
        taken_from.of_address.give_back(&address);
        taken_from.of_user.give_back(&user);
        taken_from.of_user_at.give_back(&(user, address));
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
