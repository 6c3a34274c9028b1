//! What a caller wants appended, checked and encoded in the caller's own task, so that the writer
//! only moves bytes.

use bytes::Bytes;

use super::batch::{counted_bytes, encode};
use super::topics::Topics;
use crate::log::{LogError, Outgoing};
use crate::partition::partition_of;

/// A batch takes no further record once it has so many bytes: what a reader has to fetch at least.
pub(super) const BATCH_BYTES_TARGET: usize = 256 << 10;

/// Records of one call and one partition, encoded.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The partition, as [`Topics`] counts them.
    pub partition: usize,
    pub records: u64,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    /// Records by partition, in order within each.
    pub chunks: Vec<Chunk>,
    /// For each record the chunk that it is in, and its number there.
    pub slots: Vec<(u32, u32)>,
    /// Bytes of all chunks.
    pub bytes: usize,
}

/// The sizes that are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of keys, values and headers of one record.
    pub record_bytes_max: usize,
    /// Of all records of one call.
    pub call_bytes_max: usize,
}

/// Checks and encodes records.
///
/// # Errors
/// [`LogError::NoSuchTopic`], [`LogError::NoSuchPartition`] or [`LogError::TooLarge`].
pub(super) fn encode_call(topics: &Topics, limits: Limits, records: &[Outgoing]) -> Result<Call, LogError> {
    let mut call = Call { slots: Vec::with_capacity(records.len()), ..Call::default() };
    let mut open = vec![None; topics.partitions_len()];
    let mut last = None;
    let mut total = 0;
    for record in records {
        let bytes = counted_bytes(&record.key, &record.value, &record.headers);
        check_size("a record", bytes, limits.record_bytes_max)?;
        total += bytes;
        check_size("the records of one call", total, limits.call_bytes_max)?;
        // Records of a call mostly go to the topic of the record before.
        let topic = match last {
            Some((spec, topic)) if std::ptr::eq(spec, record.topic) => topic,
            Some(_) | None => topics.of(record.topic)?,
        };
        last = Some((record.topic, topic));
        let partition = match record.partition {
            Some(partition) => partition,
            None => partition_of(&record.key, topic.partitions),
        };
        let partition = topics.index_of(topic, partition)?;
        let number = match open[partition] {
            Some(number) => number,
            None => {
                call.chunks.push(Chunk { partition, records: 0, body: Vec::new() });
                call.chunks.len() - 1
            }
        };
        let chunk = &mut call.chunks[number];
        encode(&mut chunk.body, &record.key, &record.value, &record.headers, None);
        call.slots.push((number as u32, chunk.records as u32));
        chunk.records += 1;
        open[partition] = (chunk.body.len() < BATCH_BYTES_TARGET).then_some(number);
    }
    call.bytes = call.chunks.iter().map(|chunk| chunk.body.len()).sum();
    Ok(call)
}

fn check_size(what: &'static str, bytes: usize, max: usize) -> Result<(), LogError> {
    if bytes > max { Err(LogError::TooLarge { what, bytes, max }) } else { Ok(()) }
}

/// The bytes of a chunk, without what its growth left over.
pub(super) fn sealed(body: Vec<u8>) -> Bytes {
    Bytes::from(body.into_boxed_slice())
}
