//! Calls to a service that may be slow or away: a time limit, retries within a budget, and a circuit
//! breaker.
//!
//! A [`Guard`] stands in front of one service. Calls fail after their time limit. One that failed may
//! be tried again, but only so many of all calls are: retries must not double the load on a service
//! that is already overloaded (Google, *Site Reliability Engineering*, ch. 21, "Retry budgets"). When calls
//! fail one after another, or half of many do, the breaker opens and calls are refused at once; after
//! a while one of them, the probe, is let through, and its outcome decides (Nygard, *Release It!*).

mod breaker;
mod limits;

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

pub use breaker::BreakerState;
use breaker::{Breaker, Outcome, PermitKind};
pub use limits::Limits;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallFailed<E: std::error::Error + 'static> {
    /// It was not tried.
    #[error("{service} has failed too often just now: it is left alone for a moment, and tried again then")]
    Refused { service: &'static str },
    /// It took too long; whether it was done is not known.
    #[error("{service} did not answer within {} ms", limit.as_millis())]
    TimedOut {
        service: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The service said so.
    #[error("{service} failed")]
    Failed {
        service: &'static str,
        #[source]
        source: E,
    },
}

/// Stands in front of one service.
///
/// Metrics, by `service`: `gochat_breaker_state`, `gochat_breaker_opened_total`,
/// `gochat_calls_total` by `outcome` (ok, failed, timed-out, refused) and `gochat_call_retries_total`.
pub struct Guard {
    service: &'static str,
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    breaker: Breaker,
    /// In hundredths of a retry.
    budget: u32,
    calls: u64,
}

/// One retry, in the unit of the budget.
const RETRY: u32 = 100;

impl Guard {
    /// In front of the service of this name, with a closed breaker and a full budget.
    pub fn new(service: &'static str, limits: Limits) -> Self {
        let breaker = Breaker::new(service, limits, Instant::now());
        let budget = limits.retries_saved_max * RETRY;
        Self { service, limits, inside: Mutex::new(Inside { breaker, budget, calls: 0 }) }
    }

    /// What the breaker does now.
    pub fn state(&self) -> BreakerState {
        self.lock().breaker.state()
    }

    /// Calls something that may be done twice: `is_outage` says which of its errors mean that the service
    /// does not work. Those, and calls that take too long, are tried again within the budget.
    ///
    /// # Errors
    /// [`CallFailed`].
    pub async fn retrying<T, E, F>(
        &self,
        mut attempt: impl FnMut() -> F,
        is_outage: impl Fn(&E) -> bool,
    ) -> Result<T, CallFailed<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + 'static,
    {
        let mut failed = match self.once(&mut attempt, &is_outage).await {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        for retry in 0..self.limits.retries_a_call_max {
            let passing = match &failed {
                CallFailed::Refused { .. } => false,
                CallFailed::TimedOut { .. } => true,
                CallFailed::Failed { source, .. } => is_outage(source),
            };
            if !passing || !self.take_retry() {
                break;
            }
            tokio::time::sleep(self.wait_before(retry)).await;
            match self.once(&mut attempt, &is_outage).await {
                Ok(value) => return Ok(value),
                // The first failure says more than that the breaker has opened meanwhile.
                Err(CallFailed::Refused { .. }) => break,
                Err(again) => failed = again,
            }
        }
        Err(failed)
    }

    /// Calls something once.
    ///
    /// # Errors
    /// [`CallFailed`].
    pub async fn once<T, E, F>(
        &self,
        attempt: impl FnOnce() -> F,
        is_outage: impl Fn(&E) -> bool,
    ) -> Result<T, CallFailed<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + 'static,
    {
        let service = self.service;
        let Some(permit) = self.admit() else {
            self.count("refused");
            return Err(CallFailed::Refused { service });
        };
        let limit = self.limits.attempt_time_max;
        match tokio::time::timeout(limit, attempt()).await {
            Ok(Ok(value)) => {
                permit.report(Outcome::Works);
                self.count("ok");
                Ok(value)
            }
            Ok(Err(source)) => {
                let outcome = if is_outage(&source) { Outcome::Fails } else { Outcome::Works };
                permit.report(outcome);
                self.count(if outcome == Outcome::Fails { "failed" } else { "ok" });
                Err(CallFailed::Failed { service, source })
            }
            Err(_) => {
                permit.report(Outcome::Fails);
                self.count("timed-out");
                Err(CallFailed::TimedOut { service, limit })
            }
        }
    }

    fn admit(&self) -> Option<Permit<'_>> {
        let mut inside = self.lock();
        let kind = inside.breaker.admit(Instant::now())?;
        inside.calls += 1;
        inside.budget = (inside.budget + self.limits.retries_percent_max).min(self.limits.retries_saved_max * RETRY);
        Some(Permit { guard: self, kind, outcome: Outcome::Unknown })
    }

    fn take_retry(&self) -> bool {
        let mut inside = self.lock();
        let Some(left) = inside.budget.checked_sub(RETRY) else { return false };
        inside.budget = left;
        metrics::counter!("gochat_call_retries_total", "service" => self.service).increment(1);
        true
    }

    /// Differs from call to call, so that callers who failed together don't come again together.
    fn wait_before(&self, retry: u32) -> Duration {
        let whole = self.limits.backoff * 2_u32.saturating_pow(retry);
        let share = xxh3_64(&self.lock().calls.to_le_bytes()) % 512;
        whole.mul_f64(1.0 - share as f64 / 1_024.0)
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("gochat_calls_total", "service" => self.service, "outcome" => outcome).increment(1);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("service", &self.service).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A call under way. Its outcome is noted when it is dropped.
struct Permit<'a> {
    guard: &'a Guard,
    kind: PermitKind,
    outcome: Outcome,
}

impl Permit<'_> {
    fn report(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.guard.lock().breaker.settle(self.kind, self.outcome, Instant::now());
    }
}

#[cfg(test)]
mod tests;
