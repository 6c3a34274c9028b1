//! A rate limiter: a token bucket for each key, in a table of bounded size.

use std::hash::Hash;
use std::time::Duration;

use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use tokio::time::Instant;

/// Allows each key `rate` calls a second, and `rate × burst_s` at once after a pause.
#[derive(Debug)]
pub struct RateLimiter<K: Eq + Hash> {
    rate: f64,
    burst: f64,
    entries_max: usize,
    /// In a full table a new key takes the place of the one that was used longest ago: keys that come now and then
    /// can't lift the limit of one that keeps coming.
    buckets: Mutex<LruCache<K, Bucket>>,
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
        Self::with(rate, rate * f64::from(burst_s.max(1)), entries_max)
    }

    /// A limiter of `count` a minute, all of them at once after a minute's pause.
    pub fn per_minute(count: u32, entries_max: usize) -> Self {
        let burst = f64::from(count.max(1));
        Self::with(burst / 60.0, burst, entries_max)
    }

    fn with(rate: f64, burst: f64, entries_max: usize) -> Self {
        Self { rate, burst, entries_max, buckets: Mutex::new(LruCache::unbounded()) }
    }

    /// Takes a token of the key.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub fn take(&self, key: &K, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        self.take_many(key, 1, now)
    }

    /// Takes so many tokens, or the whole burst where that is less.
    ///
    /// # Errors
    /// How long to wait for them.
    pub fn take_many(&self, key: &K, count: usize, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        let wanted = (count as f64).min(self.burst);
        self.of(key, now, |bucket| {
            if bucket.tokens >= wanted {
                bucket.tokens -= wanted;
                return Ok(());
            }
            Err(Duration::from_secs_f64((wanted - bucket.tokens) / self.rate))
        })
    }

    /// Takes a token, also one that is still to come; how long to wait for it.
    pub fn take_in_advance(&self, key: &K, now: Instant) -> Duration
    where
        K: Clone,
    {
        self.of(key, now, |bucket| {
            bucket.tokens -= 1.0;
            Duration::from_secs_f64((-bucket.tokens / self.rate).max(0.0))
        })
    }

    /// The bucket of a key, with the tokens that have come since.
    fn of<T>(&self, key: &K, now: Instant, act: impl FnOnce(&mut Bucket) -> T) -> T
    where
        K: Clone,
    {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.entries_max && !buckets.contains(key) {
            buckets.pop_lru();
        }
        let bucket = buckets.get_or_insert_mut_ref(key, || Bucket { tokens: self.burst, at: now });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * self.rate).min(self.burst);
        bucket.at = now;
        act(bucket)
    }

    /// Puts a token back, for a request that turned out not to count.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst);
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
    fn many_tokens_are_taken_at_once_but_never_more_than_the_burst() {
        let limiter = RateLimiter::new(10, 2, 100);
        let start = Instant::now();
        assert_eq!(limiter.take_many(&"a", 15, start), Ok(()));
        assert_eq!(limiter.take_many(&"a", 15, start), Err(Duration::from_secs(1)));
        assert_eq!(limiter.take_many(&"a", 1_000, start + Duration::from_secs(2)), Ok(()));
        assert!(limiter.take(&"a", start + Duration::from_secs(2)).is_err());
    }

    #[test]
    fn tokens_in_advance_are_given_one_after_another() {
        let limiter = RateLimiter::new(10, 1, 100);
        let start = Instant::now();
        let waits: Vec<_> = (0..13).map(|_| limiter.take_in_advance(&"a", start).as_millis()).collect();
        assert_eq!((&waits[..10], &waits[10..]), ([0; 10].as_slice(), [100, 200, 300].as_slice()));
        assert_eq!(limiter.take_in_advance(&"b", start), Duration::ZERO);
        assert_eq!(limiter.take_in_advance(&"a", start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn the_table_stays_within_its_bound_and_a_limit_outlives_a_flood_of_others() {
        let limiter = RateLimiter::new(1, 1, 64);
        let start = Instant::now();
        assert!(limiter.take(&-1, start).is_ok());
        for key in 0..10_000 {
            let _ = limiter.take(&key, start);
            assert!(limiter.take(&-1, start).is_err(), "it is over its limit, however many others come");
            assert!(limiter.buckets.lock().unwrap().len() <= 64);
        }
    }
}
