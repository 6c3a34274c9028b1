//! The limits of calls to one service.

use std::time::Duration;

/// What a [`Guard`](super::Guard) allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long one attempt may take.
    pub attempt_time_max: Duration,
    /// Failures one after another, without a success between them, that open the breaker.
    pub failures_in_a_row_max: u32,
    /// Percent of the calls of a window that may fail before the breaker opens.
    pub failures_percent_max: u32,
    /// How long a window is.
    pub window: Duration,
    /// Calls that a window must have before their percentage says anything.
    pub window_calls_min: u32,
    /// How long the breaker stays open before a probe.
    pub open_time: Duration,
    /// Attempts of one call after the first.
    pub retries_a_call_max: u32,
    /// Retries per hundred calls.
    pub retries_percent_max: u32,
    /// Unused retries that are saved up.
    pub retries_saved_max: u32,
    /// The wait before the first retry; it doubles with each, and up to half of it is left out at random.
    pub backoff: Duration,
}

impl Limits {
    /// For calls that may take so long, with everything else as suits most services.
    pub fn within(attempt_time_max: Duration) -> Self {
        Self {
            attempt_time_max,
            failures_in_a_row_max: 5,
            failures_percent_max: 50,
            window: Duration::from_secs(10),
            window_calls_min: 20,
            open_time: Duration::from_secs(1),
            retries_a_call_max: 2,
            retries_percent_max: 10,
            retries_saved_max: 10,
            backoff: Duration::from_millis(20),
        }
    }
}
