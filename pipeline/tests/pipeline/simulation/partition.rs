//! One partition of a simulated topic: records, those of transactions that are open or were aborted,
//! the marks that end transactions, and what was compacted or expired.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use topics::headers::Headers;
use topics::log::{Bounds, Incoming, Outgoing};

use super::broker::TransactionId;

#[derive(Debug)]
struct Entry {
    time_ms: i64,
    key: Bytes,
    value: Bytes,
    headers: Headers,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Committed,
    Open(TransactionId),
    /// Never to be seen: aborted, a mark, or dropped since.
    Hidden,
}

#[derive(Debug, Default)]
pub struct Partition {
    entries: Vec<Entry>,
    start: u64,
    /// Where each open transaction began here.
    open: BTreeMap<TransactionId, u64>,
}

impl Partition {
    pub fn append(&mut self, record: Outgoing, time_ms: i64, transaction: Option<TransactionId>) -> u64 {
        let offset = self.entries.len() as u64;
        let Outgoing { key, value, headers, .. } = record;
        let standing = match transaction {
            Some(id) => {
                self.open.entry(id).or_insert(offset);
                Standing::Open(id)
            }
            None => Standing::Committed,
        };
        self.entries.push(Entry { time_ms, key, value, headers, standing });
        offset
    }

    /// Ends a transaction; its mark takes an offset.
    pub fn end_transaction(&mut self, id: TransactionId, committed: bool) {
        let Some(first) = self.open.remove(&id) else { return };
        let standing = if committed { Standing::Committed } else { Standing::Hidden };
        for entry in &mut self.entries[first as usize..] {
            if entry.standing == Standing::Open(id) {
                entry.standing = standing;
            }
        }
        let mark = Entry {
            time_ms: self.entries.last().map_or(0, |entry| entry.time_ms),
            key: Bytes::new(),
            value: Bytes::new(),
            headers: Headers::default(),
            standing: Standing::Hidden,
        };
        self.entries.push(mark);
    }

    pub fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.entries.len() as u64 }
    }

    /// Where the first open transaction begins: nothing is read beyond.
    pub fn stable_end(&self) -> u64 {
        self.open.values().copied().min().unwrap_or(self.entries.len() as u64)
    }

    /// Up to `max` records from an offset on, and the offset of what could come next.
    pub fn read(&self, from: u64, max: usize) -> (Vec<Incoming>, u64) {
        let (mut records, mut next) = (Vec::new(), from.max(self.start));
        let stable = self.stable_end();
        while next < stable {
            let entry = &self.entries[next as usize];
            if entry.standing == Standing::Committed {
                if records.len() == max {
                    break;
                }
                records.push(Incoming {
                    offset: next,
                    time_ms: entry.time_ms,
                    key: entry.key.clone(),
                    value: entry.value.clone(),
                    headers: entry.headers.clone(),
                });
            }
            next += 1;
        }
        (records, next)
    }

    /// Whether a record that can be seen lies at an offset or behind it.
    pub fn has_more(&self, from: u64) -> bool {
        self.read(from, 1).0.len() == 1
    }

    /// Drops all but the newest record of each key, up to the first open transaction.
    pub fn compact(&mut self) -> usize {
        let stable = self.stable_end() as usize;
        let (mut newer, mut dropped) = (HashSet::new(), 0);
        for entry in self.entries[..stable].iter_mut().rev() {
            if entry.standing == Standing::Committed && !newer.insert(entry.key.clone()) {
                entry.standing = Standing::Hidden;
                dropped += 1;
            }
        }
        dropped
    }

    /// Drops what is older, from the start on.
    pub fn expire(&mut self, before_ms: i64) -> usize {
        let stable = self.stable_end() as usize;
        let keep = self.entries[..stable].iter().position(|entry| entry.time_ms >= before_ms).unwrap_or(stable);
        let dropped = keep.saturating_sub(self.start as usize);
        self.start = self.start.max(keep as u64);
        dropped
    }
}
