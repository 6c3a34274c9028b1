//! How full queues are and how full they may get, as metrics: `gochat_queue_length{queue=…}` beside
//! `gochat_queue_limit{queue=…}`. A queue here is whatever is bounded and makes others wait, or be refused,
//! when it is full: records that wait, connections in use, calls under way.
//!
//! [`set`] is for a queue of which a process has one, and whose owner knows its length. A [`Bound`] is for
//! one that has several owners, or fills and empties in many places: the metrics are sums over all of them.

use metrics::{Gauge, SharedString};

/// Says how full a queue is now.
pub fn set(queue: &'static str, length: usize, limit: usize) {
    let (of_length, of_limit) = gauges(queue.into());
    of_length.set(length as f64);
    of_limit.set(limit as f64);
}

fn gauges(queue: SharedString) -> (Gauge, Gauge) {
    let length = metrics::gauge!("gochat_queue_length", "queue" => queue.clone());
    (length, metrics::gauge!("gochat_queue_limit", "queue" => queue))
}

/// An owner's part of a queue. What it may hold counts for as long as this lives.
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

    /// So many have come in. They are gone when the answer is dropped.
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

/// What is in a queue through one of its owners.
#[derive(Debug)]
pub struct Entered {
    length: Gauge,
    count: f64,
}

impl Entered {
    /// It is so many now.
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
