//! Typed records to what a log takes, with one allocation a batch.

use std::ops::Range;

use bytes::Bytes;
use schemas::avro::{AvroError, Record};

use crate::catalogue::{Key, Topic, TopicSpec};
use crate::headers::Headers;
use crate::log::Outgoing;

/// Encodes the records of a batch into one buffer that they then share.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    topic: &'static TopicSpec,
    partition: Option<u32>,
    key: Range<usize>,
    value: Range<usize>,
    headers: Headers,
}

impl Encoder {
    /// Adds a record; its key decides the partition.
    ///
    /// # Errors
    /// [`AvroError::Write`]; the record is then left out.
    pub fn put<K: Key, V: Record>(
        &mut self,
        topic: &'static Topic<K, V>,
        key: &K,
        value: &V,
        headers: Headers,
    ) -> Result<(), AvroError> {
        self.push(&topic.spec, None, key, value, headers)
    }

    /// Adds a record to this partition.
    ///
    /// # Errors
    /// [`AvroError::Write`]; the record is then left out.
    pub fn put_at<K: Key, V: Record>(
        &mut self,
        topic: &'static Topic<K, V>,
        partition: u32,
        key: &K,
        value: &V,
        headers: Headers,
    ) -> Result<(), AvroError> {
        self.push(&topic.spec, Some(partition), key, value, headers)
    }

    fn push<K: Key, V: Record>(
        &mut self,
        topic: &'static TopicSpec,
        partition: Option<u32>,
        key: &K,
        value: &V,
        headers: Headers,
    ) -> Result<(), AvroError> {
        let start = self.buffer.len();
        key.write(&mut self.buffer);
        let middle = self.buffer.len();
        if let Err(e) = value.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            return Err(e);
        }
        self.parts.push(Part { topic, partition, key: start..middle, value: middle..self.buffer.len(), headers });
        Ok(())
    }

    /// How many records were added.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The records, in the order they were added.
    pub fn finish(self) -> Vec<Outgoing> {
        let buffer = Bytes::from(self.buffer);
        let outgoing = |part: Part| Outgoing {
            topic: part.topic,
            partition: part.partition,
            key: buffer.slice(part.key),
            value: buffer.slice(part.value),
            headers: part.headers,
        };
        self.parts.into_iter().map(outgoing).collect()
    }
}
