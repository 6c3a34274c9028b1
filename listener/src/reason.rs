use std::net::IpAddr;

use tokio::time::Instant;

use crate::seldom::Seldom;

/// Why a connection is refused, or loses its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its address has as many as one may have, all of them kept.
    Address,
    /// There are as many as there may be, all of them kept.
    Full,
    /// Another one took its place.
    Replaced,
    /// It did not finish its request in time.
    Slow,
    /// It sent no further request. That is usual, and not logged.
    Idle,
    /// The process has no descriptor for it, or no memory.
    Descriptors,
}

impl Reason {
    const COUNT: usize = Self::Descriptors as usize + 1;

    /// The `reason` label in metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Full => "full",
            Self::Replaced => "replaced",
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::Descriptors => "descriptors",
        }
    }
}

/// Counts and logs what a listener refuses.
#[derive(Debug)]
pub struct Refusals {
    listener: &'static str,
    lines: [Seldom; Reason::COUNT],
}

impl Refusals {
    pub fn new(listener: &'static str) -> Self {
        Self { listener, lines: std::array::from_fn(|_| Seldom::default()) }
    }

    pub fn tell(&self, reason: Reason, address: IpAddr) {
        if let Some(left_out) = self.due(reason) {
            let (listener, reason) = (self.listener, reason.label());
            tracing::warn!(
                listener, reason, %address, left_out,
                "a connection is refused or closed; such lines come once a minute, gochat_connections_refused_total has all"
            );
        }
    }

    pub fn tell_of_error(&self, error: &std::io::Error) {
        if let Some(left_out) = self.due(Reason::Descriptors) {
            tracing::warn!(
                listener = self.listener, %error, left_out,
                "a connection can't be accepted: the one that goes longest without finishing a request is closed. Raise \
                 the limit of open files (ulimit -n) if it is reached"
            );
        }
    }

    fn due(&self, reason: Reason) -> Option<u64> {
        let labels = [("listener", self.listener), ("reason", reason.label())];
        metrics::counter!("gochat_connections_refused_total", &labels).increment(1);
        self.lines[reason as usize].due(Instant::now()).filter(|_| reason != Reason::Idle)
    }
}
