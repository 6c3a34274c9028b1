//! A rate limiter: a token bucket for each key, in a table of bounded size.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Allows each key `rate` calls a second, and `rate × burst_s` at once after a pause.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: f64,
    burst: f64,
    entries_max: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// A limiter that remembers at most `entries_max` keys.
    pub fn new(rate_a_second: u32, burst_s: u32, entries_max: usize) -> Self {
        let rate = f64::from(rate_a_second.max(1));
        Self { rate, burst: rate * f64::from(burst_s.max(1)), entries_max, buckets: Mutex::default() }
    }

    /// A limiter of `count` a minute, all of them at once after a minute's pause.
    pub fn per_minute(count: u32, entries_max: usize) -> Self {
        let burst = f64::from(count.max(1));
        Self { rate: burst / 60.0, burst, entries_max, buckets: Mutex::default() }
    }

    /// Takes a token of the key.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub fn take(&self, key: &K, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.entries_max && !buckets.contains_key(key) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key.clone()).or_insert(Bucket { tokens: self.burst, at: now });
        bucket.tokens = self.tokens(bucket, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate))
    }

    /// Puts a token back, for a request that turned out not to count.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst);
        }
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + since * self.rate).min(self.burst)
    }

    /// Removes full buckets, which changes nothing for their keys. When that frees less than an eighth of the table, it
    /// removes all buckets, so that a full table is not scanned at each call.
    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.tokens(bucket, now) < self.burst);
        if buckets.len() > self.entries_max - self.entries_max / 8 {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let limiter = RateLimiter::new(10, 2, 100);
        let start = Instant::now();
        assert_eq!((0..30).filter(|_| limiter.take(&"a", start).is_ok()).count(), 20);
        let wait = limiter.take(&"a", start).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && wait > Duration::ZERO, "{wait:?}");
        assert!(limiter.take(&"b", start).is_ok(), "others are not affected");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..30).filter(|_| limiter.take(&"a", later).is_ok()).count(), 10);
    }

    #[test]
    fn the_table_stays_within_its_bound() {
        let limiter = RateLimiter::new(1, 1, 64);
        let start = Instant::now();
        for key in 0..10_000 {
            let _ = limiter.take(&key, start);
            assert!(limiter.buckets.lock().unwrap().len() <= 64);
        }
    }
}
