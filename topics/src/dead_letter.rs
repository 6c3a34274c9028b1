//! Bytes that are no record: set aside as they came, with the reason and the place they came from.
//!
//! What is known of a letter travels in its headers, so that its value stays what came. [`Letter`]
//! reads them back; [`tools`](crate::tools::dead_letters) lists, shows and redrives letters.

use bytes::Bytes;
use schemas::avro::AvroError;
use schemas::causes::causes;

use crate::catalogue::{self, DEAD_LETTERS, TopicSpec};
use crate::headers::Headers;
use crate::log::{Incoming, Log, Outgoing, Place};

/// Who met the bytes, and why they are none.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// The consumer group, or other reader, that could not read them.
    pub reader: &'a str,
    /// What is wrong with them.
    pub error: &'a AvroError,
}

/// Names of the headers that a dead letter has beside those of its record.
mod header {
    pub const CLASS: &str = "error-class";
    pub const ERROR: &str = "error";
    pub const READER: &str = "source-reader";
    pub const TOPIC: &str = "source-topic";
    pub const PARTITION: &str = "source-partition";
    pub const OFFSET: &str = "source-offset";
    pub const TRIES: &str = "tries";
    pub const ALL: [&str; 7] = [CLASS, ERROR, READER, TOPIC, PARTITION, OFFSET, TRIES];
}

/// On a record that was a dead letter and was put back: how often it had been read in vain. On the next
/// letter of it the number is one more.
const TRIES_BEFORE: &str = "tries-before";
/// On a record that was put back: `partition/offset` of its letter in `dead-letters`.
const REDRIVEN_FROM: &str = "redriven-from";
/// On a record of `dead-letters` that is no letter: the letter at this offset of the same partition was
/// put back. It is committed together with what was put back, and is kept as long as the letter.
const REDRIVEN_MARK: &str = "redriven-offset";

/// The dead letter of a record of `topic`: its key and value as they came, its headers and, beside
/// them, `error-class` ([`AvroError::class`]), `error` (with causes), `source-reader`, `source-topic`,
/// `source-partition`, `source-offset` and `tries`.
pub fn dead_letter(topic: &TopicSpec, partition: u32, record: &Incoming, reason: Reason<'_>) -> Outgoing {
    let before = header_of(&record.headers, TRIES_BEFORE).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let facts = [
        (header::CLASS, reason.error.class().to_owned()),
        (header::ERROR, causes(reason.error)),
        (header::READER, reason.reader.to_owned()),
        (header::TOPIC, topic.name.to_owned()),
        (header::PARTITION, partition.to_string()),
        (header::OFFSET, record.offset.to_string()),
        (header::TRIES, before.saturating_add(1).to_string()),
    ];
    let mut headers: Headers = record.headers.clone();
    headers.other.extend(facts.map(|(name, fact)| (name.into(), Bytes::from(fact))));
    Outgoing {
        topic: &DEAD_LETTERS.spec,
        partition: None,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}

/// Appends dead letters of a reader that commits nothing. When the log does not take them they are
/// only logged: the source still has the bytes.
pub async fn append(log: &dyn Log, letters: Vec<Outgoing>) {
    if letters.is_empty() {
        return;
    }
    let count = letters.len();
    if let Err(error) = log.append(letters).await {
        tracing::error!(%error, count, "dead letters could not be written; their source still has them");
    }
}

/// The class of letters that tell none, as those of the first version.
pub const UNCLASSIFIED: &str = "unclassified";

/// What a record of `dead-letters` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Letter(Box<Letter>),
    /// Says that the letter at this offset of the same partition was put back.
    Redriven(u64),
    /// Neither: written by another program, or cut off from its headers.
    Foreign,
}

/// A dead letter, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies in `dead-letters`.
    pub place: Place,
    /// When it was set aside, ms since 1970 UTC.
    pub time_ms: i64,
    /// Who could not read it.
    pub reader: String,
    /// In a word, what is wrong.
    pub class: String,
    pub error: String,
    /// Where it came from.
    pub topic: &'static TopicSpec,
    /// Where in it.
    pub source: Place,
    /// How often it was read in vain.
    pub tries: u32,
    /// Its key as it came.
    pub key: Bytes,
    /// Its value as it came.
    pub value: Bytes,
    /// The headers that it came with.
    pub headers: Headers,
}

impl Entry {
    /// Reads a record of `dead-letters`.
    pub fn read(partition: u32, record: Incoming) -> Self {
        let text = |name| header_of(&record.headers, name);
        if let Some(offset) = text(REDRIVEN_MARK) {
            return offset.parse().map_or(Self::Foreign, Self::Redriven);
        }
        let number = |name| text(name)?.parse::<u64>().ok();
        let read = || {
            Some((
                text(header::TOPIC).as_deref().and_then(catalogue::by_name)?,
                u32::try_from(number(header::PARTITION)?).ok()?,
                number(header::OFFSET)?,
            ))
        };
        let Some((topic, source_partition, source_offset)) = read() else { return Self::Foreign };
        let mut letter = Letter {
            place: Place { partition, offset: record.offset },
            time_ms: record.time_ms,
            reader: text(header::READER).unwrap_or_default(),
            class: text(header::CLASS).unwrap_or_else(|| UNCLASSIFIED.into()),
            error: text(header::ERROR).unwrap_or_default(),
            topic,
            source: Place { partition: source_partition, offset: source_offset },
            tries: number(header::TRIES).and_then(|tries| u32::try_from(tries).ok()).unwrap_or(1),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        letter.headers.other.retain(|(name, _)| !header::ALL.contains(&&**name));
        Self::Letter(Box::new(letter))
    }
}

impl Letter {
    /// What puts it back to where it came from, and what marks it as put back. Both belong into one
    /// commit.
    pub fn redrive(&self) -> [Outgoing; 2] {
        let mut headers = self.headers.clone();
        headers.other.retain(|(name, _)| !matches!(&**name, TRIES_BEFORE | REDRIVEN_FROM));
        let from = format!("{}/{}", self.place.partition, self.place.offset);
        headers.other.push((TRIES_BEFORE.into(), Bytes::from(self.tries.to_string())));
        headers.other.push((REDRIVEN_FROM.into(), Bytes::from(from)));
        let again = Outgoing {
            topic: self.topic,
            partition: Some(self.source.partition),
            key: self.key.clone(),
            value: self.value.clone(),
            headers,
        };
        let mark = Headers {
            other: vec![(REDRIVEN_MARK.into(), Bytes::from(self.place.offset.to_string()))],
            ..Headers::default()
        };
        let mark = Outgoing {
            topic: &DEAD_LETTERS.spec,
            partition: Some(self.place.partition),
            key: self.key.clone(),
            value: Bytes::new(),
            headers: mark,
        };
        [again, mark]
    }
}

fn header_of(headers: &Headers, name: &str) -> Option<String> {
    // The last one of a name is ours: what came with the record stands before it.
    let (_, value) = headers.other.iter().rev().find(|(had, _)| &**had == name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}
