//! A set of 128-bit hashes for tens of millions of keys that come and go.
//!
//! Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP vol. 3, 6.4,
//! algorithm R): a lookup, an insertion and a removal touch one or two cache lines each, there are
//! no tombstones to clean up in a long pause, and a key costs 16 bytes over the load.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Of this many slots at most [`LOAD_USED`] are used.
const LOAD_SLOTS: usize = 8;
const LOAD_USED: usize = 5;
const SLOTS_MIN: usize = 64;
/// Marks a free slot; the one key that equals it is kept beside the slots.
const FREE: u128 = 0;

#[derive(Debug)]
pub(super) struct KeySet {
    /// A power of two.
    slots: Box<[u128]>,
    /// Keys in `slots`.
    used: usize,
    holds_zero: bool,
    /// Odd, and random for each process: clients choose what is hashed, and must not be able to choose keys that
    /// collide.
    secret: u64,
}

impl Default for KeySet {
    fn default() -> Self {
        let secret = RandomState::new().build_hasher().finish() | 1;
        Self { slots: vec![FREE; SLOTS_MIN].into(), used: 0, holds_zero: false, secret }
    }
}

impl KeySet {
    /// Whether the key was not there yet.
    pub(super) fn insert(&mut self, key: u128) -> bool {
        if key == FREE {
            return !std::mem::replace(&mut self.holds_zero, true);
        }
        let mut at = self.find(key);
        if self.slots[at] == key {
            return false;
        }
        if (self.used + 1) * LOAD_SLOTS > self.slots.len() * LOAD_USED {
            self.resize(self.slots.len() * 2);
            at = self.find(key);
        }
        self.slots[at] = key;
        self.used += 1;
        true
    }

    pub(super) fn remove(&mut self, key: u128) {
        if key == FREE {
            self.holds_zero = false;
            return;
        }
        let mut hole = self.find(key);
        if self.slots[hole] == FREE {
            return;
        }
        // Every key after the hole that may move into it does, so that no search stops too early.
        let mask = self.slots.len() - 1;
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let moved = self.slots[next];
            if moved == FREE {
                break;
            }
            let home = self.home(moved);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = moved;
                hole = next;
            }
        }
        self.slots[hole] = FREE;
        self.used -= 1;
        // Far below the load that made it grow, so that it does not swing between two sizes.
        if self.slots.len() > SLOTS_MIN && self.used * 16 < self.slots.len() {
            self.resize(self.slots.len() / 4);
        }
    }

    /// The slot of the key, or the free one where it would be put.
    fn find(&self, key: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        while self.slots[at] != key && self.slots[at] != FREE {
            at = (at + 1) & mask;
        }
        at
    }

    fn home(&self, key: u128) -> usize {
        let mixed = ((key >> 64) as u64 ^ (key as u64).rotate_left(32)).wrapping_mul(self.secret);
        (mixed >> (u64::BITS - self.slots.len().trailing_zeros())) as usize
    }

    fn resize(&mut self, slots: usize) {
        let former = std::mem::replace(&mut self.slots, vec![FREE; slots.max(SLOTS_MIN)].into());
        for key in former.into_iter().filter(|&key| key != FREE) {
            let at = self.find(key);
            self.slots[at] = key;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn contains(set: &KeySet, key: u128) -> bool {
        if key == FREE { set.holds_zero } else { set.slots[set.find(key)] == key }
    }

    #[test]
    fn it_holds_what_a_plain_set_holds() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut set, mut model) = (KeySet::default(), HashSet::new());
        for keys in [50_u128, 5_000, 20] {
            for _ in 0..40_000 {
                let key = random.random_range(0..keys) << 64;
                if random.random_bool(0.5) {
                    assert_eq!(set.insert(key), model.insert(key));
                } else {
                    set.remove(key);
                    model.remove(&key);
                }
                assert_eq!(contains(&set, key), model.contains(&key));
            }
            assert!((0..keys).all(|key| contains(&set, key << 64) == model.contains(&(key << 64))));
            assert_eq!(set.used + usize::from(set.holds_zero), model.len());
        }
    }

    #[test]
    fn it_gives_memory_back() {
        let mut set = KeySet::default();
        (1..=100_000).for_each(|key| assert!(set.insert(key)));
        assert!(set.slots.len() >= 100_000);
        (1..=100_000).for_each(|key| set.remove(key));
        assert_eq!(set.slots.len(), SLOTS_MIN);
    }
}
