//! Records as they lie in a batch: the compact binary form inside one row of the database.
//!
//! A record is a byte of flags, the lengths of key and value, the headers that it has in fixed
//! binary forms, then key and value. Its offset and time follow from the batch; only in batches that
//! compaction has thinned does each record carry both, relative to the batch. Lengths are LEB128
//! (the variable-length integers of DWARF and WebAssembly). Reading copies nothing: keys and values
//! are slices of the batch.

use std::ops::Range;

use bytes::Bytes;

use crate::headers::{Headers, HopTimes, Origin, TraceParent};
use crate::log::Incoming;

const HAS_TRACE: u8 = 1;
const HAS_ORIGIN: u8 = 1 << 1;
const HAS_HOPS: u8 = 1 << 2;
const HAS_OTHER: u8 = 1 << 3;
const HAS_PLACE: u8 = 1 << 4;
const ALL_FLAGS: u8 = HAS_TRACE | HAS_ORIGIN | HAS_HOPS | HAS_OTHER | HAS_PLACE;

const TRACE_BYTES: usize = 16 + 8 + 1;
const ORIGIN_BYTES: usize = 20;
const HOPS_BYTES: usize = 28;

/// Records of one partition that were written together.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Offset of its first record.
    pub base: u64,
    /// The last record's offset is `base + span - 1`.
    pub span: u64,
    /// How many records there are; fewer than `span` once it was compacted.
    pub records: u64,
    /// Log-append time of the first record, ms since 1970 UTC.
    pub first_time: i64,
    /// Log-append time of the last record, ms since 1970 UTC.
    pub last_time: i64,
    pub body: Bytes,
}

impl Batch {
    /// The offset behind its last record.
    pub fn end(&self) -> u64 {
        self.base + self.span
    }
}

/// Where a record of a thinned batch is, relative to the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct RelativePlace {
    /// Its offset less the batch's base.
    pub offset: u64,
    /// Its time less the batch's first, ms.
    pub time_ms: u64,
}

/// Bytes that are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the batch is not what a record has there")]
pub(super) struct Malformed {
    at: usize,
}

pub(super) fn encode(out: &mut Vec<u8>, key: &[u8], value: &[u8], headers: &Headers, place: Option<RelativePlace>) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(headers.trace.is_some(), HAS_TRACE)
            | flag(headers.origin.is_some(), HAS_ORIGIN)
            | flag(headers.hops.is_some(), HAS_HOPS)
            | flag(!headers.other.is_empty(), HAS_OTHER)
            | flag(place.is_some(), HAS_PLACE),
    );
    put_number(out, key.len() as u64);
    put_number(out, value.len() as u64);
    if let Some(place) = place {
        put_number(out, place.offset);
        put_number(out, place.time_ms);
    }
    if let Some(trace) = headers.trace {
        out.extend_from_slice(&trace.trace_id.to_be_bytes());
        out.extend_from_slice(&trace.parent_id.to_be_bytes());
        out.push(trace.flags);
    }
    if let Some(origin) = headers.origin {
        out.extend_from_slice(&origin.to_bytes());
    }
    if let Some(hops) = headers.hops {
        out.extend_from_slice(&hops.to_bytes());
    }
    if !headers.other.is_empty() {
        put_number(out, headers.other.len() as u64);
        for (name, value) in &headers.other {
            put_number(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_number(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Bytes of a record as the limits of a log count them: key, value, and headers of any name.
pub(super) fn counted_bytes(key: &[u8], value: &[u8], headers: &Headers) -> usize {
    let other: usize = headers.other.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.len() + value.len() + other
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads the records of a batch one by one.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    batch: Batch,
    at: usize,
    following: u64,
}

impl Decoder {
    /// Starts at the first record.
    pub fn new(batch: Batch) -> Self {
        Self { at: 0, following: batch.base, batch }
    }

    /// The batch that is read.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Where it stands; for [`rewind`](Self::rewind).
    pub fn mark(&self) -> (usize, u64) {
        (self.at, self.following)
    }

    /// Goes back to where it stood.
    pub fn rewind(&mut self, (at, following): (usize, u64)) {
        (self.at, self.following) = (at, following);
    }

    /// Whether the last record was read.
    pub fn is_done(&self) -> bool {
        self.at == self.batch.body.len()
    }

    /// The next record; `None` behind the last.
    pub fn next(&mut self) -> Result<Option<Incoming>, Malformed> {
        let body = &self.batch.body;
        if self.is_done() {
            return Ok(None);
        }
        let mut input = Input { bytes: body, at: self.at };
        let flags = input.take(1)?.start;
        let flags = body[flags];
        if flags & !ALL_FLAGS != 0 {
            return Err(Malformed { at: self.at });
        }
        let (key, value) = (input.length()?, input.length()?);
        let (offset, time_ms) = if flags & HAS_PLACE != 0 {
            let (offset, time_ms) = (input.number()?, input.number()?);
            (self.batch.base + offset, self.batch.first_time.saturating_add_unsigned(time_ms))
        } else {
            (self.following, self.batch.first_time)
        };
        let headers = input.headers(flags, body)?;
        let (key, value) = (input.take(key)?, input.take(value)?);
        (self.at, self.following) = (input.at, offset + 1);
        Ok(Some(Incoming { offset, time_ms, key: body.slice(key), value: body.slice(value), headers }))
    }
}

/// A batch that is read from the front.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take(&mut self, len: usize) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        let end = start.checked_add(len).filter(|&end| end <= self.bytes.len()).ok_or(Malformed { at: start })?;
        self.at = end;
        Ok(start..end)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let range = self.take(N)?;
        let at = range.start;
        self.bytes[range].try_into().map_err(|_| Malformed { at })
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let start = self.at;
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed { at: start })
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let at = self.at;
        usize::try_from(self.number()?).map_err(|_| Malformed { at })
    }

    fn headers(&mut self, flags: u8, body: &Bytes) -> Result<Headers, Malformed> {
        let mut headers = Headers::default();
        let at = self.at;
        if flags & HAS_TRACE != 0 {
            let bytes: [u8; TRACE_BYTES] = self.array()?;
            let (trace_id, rest) = bytes.split_at(16);
            let (parent_id, flags) = rest.split_at(8);
            headers.trace = Some(TraceParent {
                trace_id: u128::from_be_bytes(trace_id.try_into().map_err(|_| Malformed { at })?),
                parent_id: u64::from_be_bytes(parent_id.try_into().map_err(|_| Malformed { at })?),
                flags: flags[0],
            });
        }
        if flags & HAS_ORIGIN != 0 {
            headers.origin = Origin::from_bytes(&self.array::<ORIGIN_BYTES>()?);
        }
        if flags & HAS_HOPS != 0 {
            headers.hops = HopTimes::from_bytes(&self.array::<HOPS_BYTES>()?);
        }
        if flags & HAS_OTHER != 0 {
            for _ in 0..self.length()? {
                let len = self.length()?;
                let name = self.take(len)?;
                let name = std::str::from_utf8(&self.bytes[name]).map_err(|_| Malformed { at })?;
                let len = self.length()?;
                headers.other.push((name.into(), body.slice(self.take(len)?)));
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Hop;

    fn full_headers() -> Headers {
        let mut hops = HopTimes::starting(1_800_000_000_000);
        hops.stamp(Hop::new(2, "third"), 1_800_000_000_007);
        Headers {
            trace: Some(TraceParent { trace_id: 7 << 100, parent_id: 9, flags: 1 }),
            origin: Some(Origin { slot: 3, epoch: -1, socket: u64::MAX }),
            hops: Some(hops),
            other: vec![("error".into(), Bytes::from_static(b"no record")), ("".into(), Bytes::new())],
        }
    }

    fn batch(body: Vec<u8>, records: u64, span: u64) -> Batch {
        Batch { base: 40, span, records, first_time: 1_000, last_time: 1_005, body: body.into() }
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let mut body = Vec::new();
        encode(&mut body, b"key", &[1; 300], &full_headers(), None);
        encode(&mut body, b"", b"", &Headers::default(), None);
        let batch = batch(body, 2, 2);
        let mut records = Decoder::new(batch);
        let first = records.next().unwrap().unwrap();
        assert_eq!((first.offset, first.time_ms, &first.key[..], first.value.len()), (40, 1_000, &b"key"[..], 300));
        assert_eq!(first.headers, full_headers());
        let second = records.next().unwrap().unwrap();
        assert_eq!((second.offset, second.key.len(), second.headers), (41, 0, Headers::default()));
        assert_eq!(records.next(), Ok(None));
    }

    #[test]
    fn records_of_a_thinned_batch_keep_their_offsets_and_times() {
        let mut body = Vec::new();
        let place = |offset, time_ms| Some(RelativePlace { offset, time_ms });
        encode(&mut body, b"a", b"1", &Headers::default(), place(0, 0));
        encode(&mut body, b"b", b"2", &Headers::default(), place(300, 5));
        let batch = batch(body, 2, 301);
        let mut records = Decoder::new(batch);
        let places = std::iter::from_fn(|| records.next().unwrap()).map(|r| (r.offset, r.time_ms)).collect::<Vec<_>>();
        assert_eq!(places, [(40, 1_000), (340, 1_005)]);
    }

    #[test]
    fn bytes_that_are_no_batch_are_an_error_and_never_a_panic() {
        let mut body = Vec::new();
        encode(&mut body, b"key", b"value", &full_headers(), None);
        for len in 1..body.len() {
            let mut records = Decoder::new(batch(body[..len].to_vec(), 1, 1));
            assert!(records.next().is_err(), "a record cut at {len} was read");
        }
        assert!(Decoder::new(batch(vec![0xff; 64], 1, 1)).next().is_err());
    }
}
