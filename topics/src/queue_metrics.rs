//! Length and limit of every bounded queue as metrics: `gochat_queue_length{queue=…}` and
//! `gochat_queue_limit{queue=…}`. A queue here is anything bounded that makes callers wait, or refuses them,
//! when it is full: waiting records, connections in use, calls in flight.
//!
//! [`set`] is for a queue that a process has once and whose owner knows its length. A [`Bound`] is for one with
//! several owners: the metrics are the sums over them.

use metrics::{Gauge, SharedString};

/// Sets length and limit of a queue.
pub fn set(queue: &'static str, length: usize, limit: usize) {
    let (of_length, of_limit) = gauges(queue.into());
    of_length.set(length as f64);
    of_limit.set(limit as f64);
}

fn gauges(queue: SharedString) -> (Gauge, Gauge) {
    let length = metrics::gauge!("gochat_queue_length", "queue" => queue.clone());
    (length, metrics::gauge!("gochat_queue_limit", "queue" => queue))
}

/// An owner's part of a queue. Its limit counts until this is dropped.
#[derive(Debug)]
pub struct Bound {
    length: Gauge,
    limit: Gauge,
    max: f64,
}

impl Bound {
    /// A queue of this name, or a part of it, that holds up to `max`.
    pub fn new(queue: impl Into<SharedString>, max: usize) -> Self {
        let (length, limit) = gauges(queue.into());
        let max = max as f64;
        length.increment(0.0);
        limit.increment(max);
        Self { length, limit, max }
    }

    /// Counts so many items as queued until the guard returned is dropped.
    pub fn entered(&self, count: usize) -> Entered {
        let count = count as f64;
        self.length.increment(count);
        Entered { length: self.length.clone(), count }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.limit.decrement(self.max);
    }
}

/// Items queued by one owner.
#[derive(Debug)]
pub struct Entered {
    length: Gauge,
    count: f64,
}

impl Entered {
    /// Changes how many there are.
    pub fn becomes(&mut self, count: usize) {
        let count = count as f64;
        self.length.increment(count - self.count);
        self.count = count;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.length.decrement(self.count);
    }
}
