//! The wall clock, handed in as a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time. Clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the machine. For the composition root.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock for tests, which only moves when it is set.
    pub fn manual(now_ms: i64) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now_ms))))
    }

    /// ms since 1970 UTC.
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock by this many ms, which may be negative.
    ///
    /// # Panics
    /// On the system clock.
    pub fn advance_ms(&self, ms: i64) {
        match &self.0 {
            Source::System => panic!("only a manual clock can be moved"),
            Source::Manual(now) => now.fetch_add(ms, Ordering::SeqCst),
        };
    }
}
