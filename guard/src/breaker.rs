//! The circuit breaker of one service: a state, and what moves it.

use tokio::time::Instant;

use super::limits::Limits;

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// One call goes through, to see; all others are refused.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl BreakerState {
    /// As the gauge `gochat_breaker_state` shows it.
    pub fn gauge(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

/// A breaker. Moments are handed in.
#[derive(Debug)]
pub(super) struct Breaker {
    service: &'static str,
    limits: Limits,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed(Tally),
    HalfOpen,
    Open { until: Instant },
}

/// What became of calls while the breaker is closed.
#[derive(Debug, Clone, Copy)]
struct Tally {
    failures_in_a_row: u32,
    window_start: Instant,
    calls: u32,
    failures: u32,
}

/// How a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PermitKind {
    Ordinary,
    Probe,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Works,
    Fails,
    /// Whoever called did not wait for the end.
    Unknown,
}

impl Breaker {
    pub(super) fn new(service: &'static str, limits: Limits, now: Instant) -> Self {
        let breaker = Self { service, limits, state: State::Closed(Tally::starting(now)) };
        breaker.show();
        breaker
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed(_) => BreakerState::Closed,
            State::HalfOpen => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Whether a call may go through now, and as what.
    pub(super) fn admit(&mut self, now: Instant) -> Option<PermitKind> {
        match self.state {
            State::Closed(_) => Some(PermitKind::Ordinary),
            State::HalfOpen => None,
            State::Open { until } if now < until => None,
            State::Open { .. } => {
                self.turn(State::HalfOpen);
                Some(PermitKind::Probe)
            }
        }
    }

    /// Notes what became of a call that went through.
    pub(super) fn settle(&mut self, kind: PermitKind, outcome: Outcome, now: Instant) {
        match (self.state, kind, outcome) {
            (State::Closed(tally), _, Outcome::Works) => {
                self.state = State::Closed(tally.with(now, &self.limits, false));
            }
            (State::Closed(tally), _, Outcome::Fails) => {
                let tally = tally.with(now, &self.limits, true);
                if tally.is_too_much(&self.limits) { self.open(now) } else { self.state = State::Closed(tally) }
            }
            (State::HalfOpen, PermitKind::Probe, Outcome::Works) => {
                tracing::debug!(service = self.service, "it works again");
                self.turn(State::Closed(Tally::starting(now)));
            }
            (State::HalfOpen, PermitKind::Probe, Outcome::Fails) => self.open(now),
            // The probe was given up by whoever asked: the next one is a probe at once.
            (State::HalfOpen, PermitKind::Probe, Outcome::Unknown) => self.turn(State::Open { until: now }),
            // Calls from before the breaker opened say nothing new.
            (State::HalfOpen, PermitKind::Ordinary, _) | (State::Open { .. }, _, _) => {}
            (State::Closed(_), _, Outcome::Unknown) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        let open_ms = u64::try_from(self.limits.open_time.as_millis()).unwrap_or(u64::MAX);
        // Why, and for how long, whoever watches the service tells; this comes again with each probe that fails.
        tracing::debug!(service = self.service, open_ms, "it fails: calls are refused for a moment, then one is tried");
        metrics::counter!("gochat_breaker_opened_total", "service" => self.service).increment(1);
        self.turn(State::Open { until: now + self.limits.open_time });
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.show();
    }

    fn show(&self) {
        metrics::gauge!("gochat_breaker_state", "service" => self.service).set(self.state().gauge());
    }
}

impl Tally {
    fn starting(now: Instant) -> Self {
        Self { failures_in_a_row: 0, window_start: now, calls: 0, failures: 0 }
    }

    fn with(self, now: Instant, limits: &Limits, failed: bool) -> Self {
        let Self { failures_in_a_row, window_start, calls, failures } = self;
        let fresh = now - window_start >= limits.window;
        let (window_start, calls, failures) = if fresh { (now, 0, 0) } else { (window_start, calls, failures) };
        Self {
            failures_in_a_row: if failed { failures_in_a_row + 1 } else { 0 },
            window_start,
            calls: calls + 1,
            failures: failures + u32::from(failed),
        }
    }

    fn is_too_much(self, limits: &Limits) -> bool {
        let share = u64::from(self.failures) * 100 > u64::from(self.calls) * u64::from(limits.failures_percent_max);
        self.failures_in_a_row >= limits.failures_in_a_row_max || (self.calls >= limits.window_calls_min && share)
    }
}
