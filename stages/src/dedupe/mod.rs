//! Drops what a client sent again, so that each message appears once.
//!
//! A client repeats a message until it is acknowledged; (conversation, sender, clientMsgId) names it.
//! A copy within the window is a repeat. Time is the log-append time of the input topic, which is the
//! same for every reader and every replay.
//!
//! The changelog gets one [`DedupeWindow`] a partition a batch, with the keys that were added; none where
//! nothing was passed on.

mod key_set;

use std::collections::{BTreeMap, VecDeque};

use schemas::ids::ConversationId;
use schemas::records::{DedupeWindow, Upstream};
use xxhash_rust::xxh3::xxh3_128;

use self::key_set::KeySet;
use crate::stage::{Context, Filter, Input, Output, Outputs, Stage, StageError};

/// Bytes of a key's hash in a changelog record.
const HASH_BYTES: usize = size_of::<u128>();

/// A repeat does not renew the window, which counts from the first copy.
#[derive(Debug)]
pub struct Dedupe {
    window_ms: i64,
    partitions: BTreeMap<u32, Window>,
}

impl Dedupe {
    /// Drops a record whose key came at most `window_ms` before it.
    pub fn new(window_ms: i64) -> Self {
        Self { window_ms, partitions: BTreeMap::new() }
    }

    /// How many keys are in the window, over all partitions.
    pub fn live_keys(&self) -> usize {
        self.partitions.values().map(|window| window.added.len()).sum()
    }
}

impl Stage for Dedupe {
    type In = Upstream;
    type Out = Upstream;
    type Change = DedupeWindow;

    const NAME: &str = "dedupe";

    fn assigned(&mut self, partition: u32) {
        self.partitions.insert(partition, Window::default());
    }

    fn restore(&mut self, partition: u32, changes: Vec<DedupeWindow>) {
        let window = self.partitions.entry(partition).or_default();
        for DedupeWindow { hashes, times } in changes {
            let (hashes, _) = hashes.as_chunks::<HASH_BYTES>();
            for (hash, time_ms) in hashes.iter().zip(times) {
                window.admit(u128::from_be_bytes(*hash), time_ms, self.window_ms);
            }
            window.keep();
        }
    }

    fn revoked(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }

    fn process(
        &mut self,
        batch: Vec<Input<Upstream>>,
        out: &mut Outputs<Upstream, DedupeWindow>,
        _cx: &Context,
    ) -> Result<(), StageError> {
        out.records.reserve(batch.len());
        for Input { source, headers, value } in batch {
            let Some(window) = self.partitions.get_mut(&source.partition) else {
                return Err(StageError::not_assigned(Self::NAME, source.partition));
            };
            let first = key_of(&value).is_none_or(|key| window.admit(key, source.time_ms, self.window_ms));
            if first {
                window.passed_on = true;
                out.records.push(Output { source, headers, value });
            }
        }
        let changes = self.partitions.iter().filter_map(|(&partition, window)| Some((partition, window.change()?)));
        out.changes.extend(changes);
        Ok(())
    }

    fn committed(&mut self) {
        self.partitions.values_mut().for_each(Window::keep);
    }

    fn aborted(&mut self) {
        self.partitions.values_mut().for_each(Window::undo);
    }
}

impl Filter for Dedupe {}

/// The hash of (conversation, sender, clientMsgId); `None` for what is idempotent by itself. It is
/// written to the changelog, so it must stay the same in every version.
fn key_of(record: &Upstream) -> Option<u128> {
    const FIXED_BYTES: usize = 1 + 8 + 8 + 8;
    const ID_BYTES_MAX: usize = 4 * schemas::admission::CLIENT_MSG_ID_CHARS_MAX;
    let id = record.client_msg_id.as_bytes();
    if id.is_empty() {
        return None;
    }
    let (tag, first, second) = match record.conversation_id {
        ConversationId::Single { low, high } => (1, low.0, high.0),
        ConversationId::Group(group) => (2, group.0, 0),
        ConversationId::World => (3, 0, 0),
    };
    let mut bytes = [0; FIXED_BYTES + ID_BYTES_MAX];
    bytes[0] = tag;
    bytes[1..9].copy_from_slice(&first.to_be_bytes());
    bytes[9..17].copy_from_slice(&second.to_be_bytes());
    bytes[17..FIXED_BYTES].copy_from_slice(&record.sender_id.0.to_be_bytes());
    let hash = match bytes.get_mut(FIXED_BYTES..FIXED_BYTES + id.len()) {
        Some(place) => {
            place.copy_from_slice(id);
            xxh3_128(&bytes[..FIXED_BYTES + id.len()])
        }
        // Longer than a client may send: the system made it.
        None => xxh3_128(&[&bytes[..FIXED_BYTES], id].concat()),
    };
    Some(hash)
}

/// The keys of one partition that are within the window. Some 56 bytes a key.
#[derive(Debug, Default)]
struct Window {
    live: KeySet,
    /// The same keys, oldest first.
    added: VecDeque<Key>,
    /// How many of `added`, at its end, are of the current batch.
    pending: usize,
    /// What the current batch evicted, oldest first.
    evicted: Vec<Key>,
    /// Whether anything of the current batch was passed on, with a key or without.
    passed_on: bool,
}

/// A hash in halves (so that it needs no alignment to 16 bytes) and its time.
#[derive(Debug, Clone, Copy)]
struct Key {
    high: u64,
    low: u64,
    time_ms: i64,
}

impl Key {
    fn new(hash: u128, time_ms: i64) -> Self {
        Self { high: (hash >> 64) as u64, low: hash as u64, time_ms }
    }

    fn hash(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

impl Window {
    /// Whether this is the first copy within the window; it is then added.
    fn admit(&mut self, hash: u128, time_ms: i64, window_ms: i64) -> bool {
        // A log's time can step back when another broker takes a partition over; the window does not.
        let time_ms = self.added.back().map_or(time_ms, |newest| newest.time_ms.max(time_ms));
        while let Some(oldest) = self.added.front().filter(|oldest| time_ms - oldest.time_ms > window_ms) {
            self.live.remove(oldest.hash());
            if self.added.len() > self.pending {
                self.evicted.push(*oldest);
            } else {
                // The window is shorter than the batch: this key came and went within it.
                self.pending -= 1;
            }
            self.added.pop_front();
        }
        if !self.live.insert(hash) {
            return false;
        }
        self.added.push_back(Key::new(hash, time_ms));
        self.pending += 1;
        true
    }

    /// What the current batch added.
    fn change(&self) -> Option<DedupeWindow> {
        if !self.passed_on {
            return None;
        }
        let new = self.added.range(self.added.len() - self.pending..);
        let mut hashes = Vec::with_capacity(self.pending * HASH_BYTES);
        new.clone().for_each(|key| hashes.extend_from_slice(&key.hash().to_be_bytes()));
        Some(DedupeWindow { hashes, times: new.map(|key| key.time_ms).collect() })
    }

    fn keep(&mut self) {
        self.passed_on = false;
        self.pending = 0;
        self.evicted.clear();
    }

    fn undo(&mut self) {
        for key in self.added.drain(self.added.len() - self.pending..) {
            self.live.remove(key.hash());
        }
        for key in self.evicted.drain(..).rev() {
            self.live.insert(key.hash());
            self.added.push_front(key);
        }
        self.passed_on = false;
        self.pending = 0;
    }
}
