//! Records between Kafka's form and the log's, and the records that were fetched but not handed out.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};

use super::native;
use crate::headers::{HOPS_HEADER, Headers, HopTimes, ORIGIN_HEADER, Origin, TRACE_HEADER};
use crate::log::{Incoming, PartitionBatch};
use crate::queue_metrics::{Bound, Entered};

/// The headers of a record to be written; `None` when there are none.
pub(super) fn to_kafka(headers: &Headers) -> Option<OwnedHeaders> {
    let Headers { trace, origin, hops, other } = headers;
    let count =
        usize::from(trace.is_some()) + usize::from(origin.is_some()) + usize::from(hops.is_some()) + other.len();
    if count == 0 {
        return None;
    }
    let mut owned = OwnedHeaders::new_with_capacity(count);
    let mut put = |key: &str, value: &[u8]| {
        owned = std::mem::take(&mut owned).insert(Header { key, value: Some(value) });
    };
    if let Some(trace) = trace {
        put(TRACE_HEADER, trace.to_string().as_bytes());
    }
    if let Some(origin) = origin {
        put(ORIGIN_HEADER, &origin.to_bytes());
    }
    if let Some(hops) = hops {
        put(HOPS_HEADER, &hops.to_bytes());
    }
    for (name, value) in other {
        put(name, value);
    }
    Some(owned)
}

/// The headers of a record that was read. What has one of our names but not its form is kept as it is.
fn from_kafka(message: &BorrowedMessage<'_>) -> Headers {
    let mut headers = Headers::default();
    native::for_each_header(message, |name, value| {
        let known = match name {
            TRACE_HEADER if headers.trace.is_none() => {
                headers.trace = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                headers.trace.is_some()
            }
            ORIGIN_HEADER if headers.origin.is_none() => {
                headers.origin = Origin::from_bytes(value);
                headers.origin.is_some()
            }
            HOPS_HEADER if headers.hops.is_none() => {
                headers.hops = HopTimes::from_bytes(value);
                headers.hops.is_some()
            }
            _ => false,
        };
        if !known {
            headers.other.push((name.into(), Bytes::copy_from_slice(value)));
        }
    });
    headers
}

/// Records that come in at once, copied out of librdkafka's buffers into one of their own.
#[derive(Default)]
pub(super) struct Arrivals {
    bytes: Vec<u8>,
    records: Vec<Arrival>,
}

struct Arrival {
    partition: u32,
    offset: u64,
    time_ms: i64,
    key: Range<usize>,
    value: Range<usize>,
    headers: Headers,
}

impl Arrivals {
    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let mut copy = |part: Option<&[u8]>| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part.unwrap_or_default());
            start..self.bytes.len()
        };
        let (key, value) = (copy(message.key()), copy(message.payload()));
        self.records.push(Arrival {
            partition: message.partition().cast_unsigned(),
            offset: message.offset().cast_unsigned(),
            time_ms: message.timestamp().to_millis().unwrap_or(0),
            key,
            value,
            headers: from_kafka(message),
        });
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Records that were fetched but not handed out, in order within each partition.
#[derive(Default)]
pub(super) struct Backlog {
    partitions: BTreeMap<u32, VecDeque<Incoming>>,
    /// The partition whose turn it is.
    turn: u32,
    records: usize,
    /// The same, as a metric.
    measured: Option<(Entered, Bound)>,
}

impl Backlog {
    /// An empty one that tells metrics how full it is.
    pub fn measured_by(bound: Bound) -> Self {
        Self { measured: Some((bound.entered(0), bound)), ..Self::default() }
    }

    fn count(&mut self, records: usize) {
        self.records = records;
        if let Some((entered, _)) = &mut self.measured {
            entered.becomes(records);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub fn has(&self, partition: u32) -> bool {
        self.partitions.contains_key(&partition)
    }

    pub fn records(&self) -> usize {
        self.records
    }

    /// Takes in the arrivals of the partitions that are wanted.
    pub fn extend(&mut self, arrivals: Arrivals, wanted: impl Fn(u32, u64) -> bool) {
        let bytes = Bytes::from(arrivals.bytes);
        let mut records = self.records;
        for Arrival { partition, offset, time_ms, key, value, headers } in arrivals.records {
            if wanted(partition, offset) {
                let record = Incoming { offset, time_ms, key: bytes.slice(key), value: bytes.slice(value), headers };
                self.partitions.entry(partition).or_default().push_back(record);
                records += 1;
            }
        }
        self.count(records);
    }

    /// Forgets the records of a partition.
    pub fn forget(&mut self, partition: u32) {
        let forgotten = self.partitions.remove(&partition).map_or(0, |records| records.len());
        self.count(self.records - forgotten);
    }

    /// Records of the partition whose turn it is, within both limits; at least one.
    pub fn take_one(&mut self, records_max: usize, bytes_max: usize) -> Option<PartitionBatch> {
        let (&partition, _) =
            self.partitions.range(self.turn..).next().or_else(|| self.partitions.first_key_value())?;
        let records = self.partitions.get_mut(&partition)?;
        let mut room = Room { records: records_max.max(1), bytes: bytes_max, empty: true };
        let mut taken = Vec::new();
        while records.front().is_some_and(|record| room.takes(record)) {
            taken.extend(records.pop_front());
        }
        if records.is_empty() {
            self.partitions.remove(&partition);
        }
        self.count(self.records - taken.len());
        self.turn = partition + 1;
        let next_offset = taken.last()?.offset + 1;
        Some(PartitionBatch { partition, records: taken, next_offset })
    }

    /// Records of all partitions within both limits; those of one partition at least one, whatever its
    /// size. Each partition gets an equal share, and what others leave of theirs.
    pub fn take(&mut self, records_max: usize, bytes_max: usize) -> Vec<PartitionBatch> {
        let share = (records_max / self.partitions.len().max(1)).max(1);
        let mut room = Room { records: records_max.max(1), bytes: bytes_max, empty: true };
        let mut taken: BTreeMap<u32, Vec<Incoming>> = BTreeMap::new();
        let before: Vec<u32> = self.partitions.range(..self.turn).map(|(&p, _)| p).collect();
        let order: Vec<u32> = self.partitions.range(self.turn..).map(|(&p, _)| p).chain(before).collect();
        for most in [share, usize::MAX] {
            for &partition in &order {
                let Some(records) = self.partitions.get_mut(&partition) else { continue };
                let into = taken.entry(partition).or_default();
                while into.len() < most && records.front().is_some_and(|record| room.takes(record)) {
                    into.extend(records.pop_front());
                }
            }
        }
        self.turn = order.first().map_or(0, |first| first + 1);
        self.partitions.retain(|_, records| !records.is_empty());
        let batches = taken.into_iter().filter_map(|(partition, records)| {
            let next_offset = records.last()?.offset + 1;
            Some(PartitionBatch { partition, records, next_offset })
        });
        let batches: Vec<_> = batches.collect();
        let handed_out = batches.iter().map(|batch| batch.records.len()).sum::<usize>();
        self.count(self.records - handed_out);
        batches
    }
}

/// What still fits into a batch.
struct Room {
    records: usize,
    bytes: usize,
    empty: bool,
}

impl Room {
    fn takes(&mut self, record: &Incoming) -> bool {
        let bytes = record.key.len() + record.value.len();
        let fits = self.records > 0 && (bytes <= self.bytes || self.empty);
        if fits {
            self.records -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
            self.empty = false;
        }
        fits
    }
}
