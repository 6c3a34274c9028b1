//! 64-bit ids that instances make without coordination: 41 bits of ms since 2025-01-01 UTC, 10 bits of instance,
//! 12 bits of counter (the layout of Twitter's Snowflake, 2010).

/// 2025-01-01T00:00:00Z in ms since 1970.
pub const EPOCH_MS: i64 = 1_735_689_600_000;
/// Instance ids are below this.
pub const INSTANCES: u16 = 1 << 10;
const COUNTER_BITS: u32 = 12;
const INSTANCE_BITS: u32 = 10;
const COUNTER_MAX: u16 = (1 << COUNTER_BITS) - 1;

/// A generator that never repeats an id, whatever the clock does.
///
/// It runs ahead of the clock when the 4,096 ids of a millisecond are used up, and keeps its own time when the clock
/// steps back.
#[derive(Debug, Clone)]
pub struct Snowflake {
    instance: u16,
    /// ms since [`EPOCH_MS`] of the newest id.
    last_ms: i64,
    /// Counter of the next id in `last_ms`; beyond [`COUNTER_MAX`] when they are used up.
    next_counter: u16,
}

/// The lease of the instance id ends before the time of the next id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease of instance id {instance} ends too soon to make another id; waiting for its renewal")]
pub struct LeaseEnds {
    pub instance: u16,
}

impl Snowflake {
    /// A generator for an instance id below [`INSTANCES`].
    ///
    /// # Panics
    /// When `instance` is out of range: a wiring mistake.
    pub fn new(instance: u16) -> Self {
        assert!(instance < INSTANCES, "instance id {instance} is not below {INSTANCES}");
        Self { instance, last_ms: 0, next_counter: 0 }
    }

    /// From now on makes only ids of a later time than this one. Called with the newest id from before a restart.
    pub fn observe(&mut self, id: i64) {
        let ms = id >> (COUNTER_BITS + INSTANCE_BITS);
        if ms >= self.last_ms {
            self.last_ms = ms;
            self.next_counter = COUNTER_MAX + 1;
        }
    }

    /// The next id.
    ///
    /// `now_ms` is the wall clock; `not_after_ms` bounds the time inside the id (the deadline of the
    /// instance's lease less a margin), both in ms since 1970.
    ///
    /// # Errors
    /// [`LeaseEnds`] when the id's time would lie beyond `not_after_ms`.
    pub fn next(&mut self, now_ms: i64, not_after_ms: Option<i64>) -> Result<i64, LeaseEnds> {
        let now = now_ms - EPOCH_MS;
        let (ms, counter) = if now > self.last_ms {
            (now, 0)
        } else if self.next_counter > COUNTER_MAX {
            (self.last_ms + 1, 0)
        } else {
            (self.last_ms, self.next_counter)
        };
        if not_after_ms.is_some_and(|limit| ms + EPOCH_MS > limit) {
            return Err(LeaseEnds { instance: self.instance });
        }
        (self.last_ms, self.next_counter) = (ms, counter + 1);
        Ok(ms << (COUNTER_BITS + INSTANCE_BITS) | i64::from(self.instance) << COUNTER_BITS | i64::from(counter))
    }
}

/// The time inside an id, in ms since 1970.
pub fn time_of(id: i64) -> i64 {
    (id >> (COUNTER_BITS + INSTANCE_BITS)) + EPOCH_MS
}

/// The smallest id of a time in ms since 1970; `i64::MAX` when the time has none.
pub fn first_at(time_ms: i64) -> i64 {
    let ms = time_ms.saturating_sub(EPOCH_MS).max(0);
    ms.checked_mul(1 << (COUNTER_BITS + INSTANCE_BITS)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = EPOCH_MS + 1_000_000;

    fn increasing(ids: &[i64]) -> bool {
        ids.windows(2).all(|pair| pair[0] < pair[1])
    }

    #[test]
    fn a_used_up_counter_moves_on_to_the_next_millisecond() {
        let mut snowflake = Snowflake::new(7);
        let ids: Vec<_> = (0..10_000).map(|_| snowflake.next(NOW, None).unwrap()).collect();
        assert!(increasing(&ids));
        assert_eq!(time_of(ids[0]), NOW);
        assert_eq!(time_of(ids[4095]), NOW);
        assert_eq!(time_of(ids[4096]), NOW + 1);
        assert_eq!(time_of(ids[9_999]), NOW + 2);
    }

    #[test]
    fn a_clock_that_steps_back_repeats_nothing() {
        let mut snowflake = Snowflake::new(1);
        let ids: Vec<_> = [0, 5, -60_000, -59_999, 3, 6].map(|step| snowflake.next(NOW + step, None).unwrap()).into();
        assert!(increasing(&ids));
    }

    #[test]
    fn an_id_from_before_a_restart_is_never_made_again() {
        let mut before = Snowflake::new(1);
        let last = (0..5000).map(|_| before.next(NOW, None).unwrap()).last().unwrap();
        let mut after = Snowflake::new(1);
        after.observe(last);
        assert!(after.next(NOW - 10_000, None).unwrap() > last);
    }

    #[test]
    fn ids_stop_at_the_end_of_the_lease() {
        let mut snowflake = Snowflake::new(3);
        assert!(snowflake.next(NOW, Some(NOW)).is_ok());
        assert_eq!(snowflake.next(NOW + 1, Some(NOW)), Err(LeaseEnds { instance: 3 }));
        for _ in 1..4096 {
            snowflake.next(NOW, Some(NOW)).unwrap();
        }
        assert_eq!(snowflake.next(NOW, Some(NOW)), Err(LeaseEnds { instance: 3 }));
        assert!(snowflake.next(NOW, Some(NOW + 1)).is_ok());
    }

    #[test]
    fn the_first_id_of_a_time_is_below_all_others_of_it() {
        let id = Snowflake::new(0).next(NOW, None).unwrap();
        assert_eq!((first_at(NOW), time_of(first_at(NOW))), (id, NOW));
        assert!(Snowflake::new(INSTANCES - 1).next(NOW - 1, None).unwrap() < first_at(NOW));
        assert_eq!((first_at(0), first_at(i64::MAX)), (0, i64::MAX));
    }

    #[test]
    fn instances_never_meet() {
        let id = |instance| Snowflake::new(instance).next(NOW, None).unwrap();
        assert_ne!(id(0), id(1));
        assert_eq!(id(INSTANCES - 1) >> COUNTER_BITS & 1023, 1023);
    }
}
