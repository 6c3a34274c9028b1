//! Records to bytes and back: Avro single-object encoding (Avro 1.12 specification, "Single object
//! encoding": `C3 01`, the little-endian CRC-64-AVRO fingerprint of the writer's schema, the datum).
//!
//! A record is read with its writer's schema, straight into the newest struct, by serde;
//! fields that an older writer lacked get their serde default, which equals the schema's default
//! (`tests/schemas` proves it). There is no schema resolution on this path: a change of a schema is
//! a new file, listed here, that only adds fields with defaults.

use std::sync::OnceLock;

use apache_avro::{AvroSchema, GenericSingleObjectReader, Schema, SpecificSingleObjectWriter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::records::{DedupeWindow, Delivery, GroupTask, Head, Heartbeat, LogIdentity, Presence, Sequenced, Upstream};

/// `C3 01` and the 8 bytes of the fingerprint.
pub const HEADER_BYTES: usize = 10;
/// What every single object starts with.
const OBJECT: [u8; 2] = [0xC3, 0x01];

#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    /// Shorter than the header, or not starting with `C3 01`.
    #[error("not an Avro single object: {len} bytes, starting with {start:02x?}")]
    NotAnObject { len: usize, start: Vec<u8> },
    /// The fingerprint is of no version of the expected record.
    #[error("fingerprint {fingerprint:016x} is of no known version of {expected}")]
    UnknownSchema { fingerprint: u64, expected: &'static str },
    /// The datum does not follow its schema.
    #[error("{record} could not be read")]
    Read {
        record: &'static str,
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// Bytes are missing at the end of the datum.
    #[error("a {record} ends in the middle")]
    Truncated { record: &'static str },
    /// Bytes were left over behind the datum.
    #[error("{left} bytes follow the end of a {record}")]
    TrailingBytes { record: &'static str, left: usize },
    /// The value does not fit its schema.
    #[error("{record} could not be written")]
    Write {
        record: &'static str,
        #[source]
        source: Box<apache_avro::Error>,
    },
}

impl AvroError {
    /// Every [`class`](Self::class).
    pub const CLASSES: [&str; 5] = ["not-an-object", "unknown-schema", "unreadable", "trailing-bytes", "unwritable"];

    /// The kind of fault, by which dead letters are grouped.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotAnObject { .. } => "not-an-object",
            Self::UnknownSchema { .. } => "unknown-schema",
            Self::Read { .. } | Self::Truncated { .. } => "unreadable",
            Self::TrailingBytes { .. } => "trailing-bytes",
            Self::Write { .. } => "unwritable",
        }
    }

    /// For a header whose fingerprint is of no version of `expected`.
    pub(crate) fn unknown_schema(header: &[u8; HEADER_BYTES], expected: &'static str) -> Self {
        let fingerprint = header[2..].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self::UnknownSchema { fingerprint, expected }
    }
}

/// A record of a topic.
pub trait Record: Sized + Send + Sync + 'static {
    /// For errors and tools.
    const NAME: &'static str;

    /// Appends its bytes to `out`.
    ///
    /// # Errors
    /// [`AvroError::Write`]; `out` may then end in a part of the record.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), AvroError>;

    /// Reads it from bytes that hold exactly one.
    ///
    /// # Errors
    /// Every variant but [`AvroError::Write`].
    fn decode(bytes: &[u8]) -> Result<Self, AvroError>;
}

/// Every version of one record's schema. `T` is the newest one.
pub struct Versions<T: AvroSchema> {
    name: &'static str,
    writer: SpecificSingleObjectWriter<T>,
    /// Newest first: most of what is read was written by this version.
    readers: Vec<([u8; HEADER_BYTES], GenericSingleObjectReader)>,
}

impl<T: AvroSchema> Versions<T> {
    /// Parses the texts of the versions of a record, oldest first.
    ///
    /// # Panics
    /// When there is none, or one is not a schema.
    pub fn parse(name: &'static str, texts: &[&str]) -> Self {
        let newest = parsed(texts.last().expect("a record has one version at least"));
        let reader = |text: &&str| {
            let schema = parsed(text);
            (header_of(&schema), body_reader(schema))
        };
        let writer = SpecificSingleObjectWriter::builder().resolved(newest);
        Self {
            name,
            writer: writer.expect("what parses resolves: tests/schemas").build(),
            readers: texts.iter().rev().map(reader).collect(),
        }
    }

    /// Appends the bytes of a record, of the newest version, to `out`.
    ///
    /// # Errors
    /// [`AvroError::Write`].
    pub fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), AvroError>
    where
        T: Serialize,
    {
        self.writer.write_ref(value, out).map_err(|e| AvroError::Write { record: self.name, source: Box::new(e) })?;
        Ok(())
    }

    /// Reads a record of any version from bytes that hold exactly one.
    ///
    /// # Errors
    /// Every variant but [`AvroError::Write`].
    pub fn decode(&self, bytes: &[u8]) -> Result<T, AvroError>
    where
        T: DeserializeOwned,
    {
        let (header, mut rest) = split_header(bytes)?;
        let Some((_, reader)) = self.readers.iter().find(|(known, _)| known == header) else {
            return Err(AvroError::unknown_schema(header, self.name));
        };
        let record =
            reader.read_deser(&mut rest).map_err(|e| AvroError::Read { record: self.name, source: Box::new(e) })?;
        if rest.is_empty() { Ok(record) } else { Err(AvroError::TrailingBytes { record: self.name, left: rest.len() }) }
    }
}

/// The header of a single object, and the body behind it.
pub(crate) fn split_header(bytes: &[u8]) -> Result<(&[u8; HEADER_BYTES], &[u8]), AvroError> {
    bytes
        .split_first_chunk()
        .filter(|(header, _)| header.starts_with(&OBJECT))
        .ok_or_else(|| AvroError::NotAnObject { len: bytes.len(), start: bytes.iter().take(2).copied().collect() })
}

/// A reader of bodies without their header, by which it was chosen.
pub(crate) fn body_reader(schema: Schema) -> GenericSingleObjectReader {
    let reader = GenericSingleObjectReader::builder().header(Vec::new()).schema(schema);
    reader.build().expect("what parses resolves: tests/schemas")
}

pub(crate) fn parsed(text: &str) -> Schema {
    Schema::parse_str(text).expect("schemas in the repository parse: tests/schemas")
}

pub fn header_of(schema: &Schema) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..2].copy_from_slice(&OBJECT);
    header[2..].copy_from_slice(&schema.fingerprint::<apache_avro::rabin::Rabin>().bytes);
    header
}

macro_rules! records {
    ($($record:ident: $($file:literal),+;)*) => {
        $(
            impl AvroSchema for $record {
                fn get_schema() -> Schema {
                    parsed([$(include_str!(concat!("../avro/", $file))),+].last().expect("one at least"))
                }
            }

            impl Record for $record {
                const NAME: &'static str = stringify!($record);

                fn encode(&self, out: &mut Vec<u8>) -> Result<(), AvroError> {
                    $record::versions().encode(self, out)
                }

                fn decode(bytes: &[u8]) -> Result<Self, AvroError> {
                    $record::versions().decode(bytes)
                }
            }

            impl $record {
                fn versions() -> &'static Versions<$record> {
                    static VERSIONS: OnceLock<Versions<$record>> = OnceLock::new();
                    let texts = [$(include_str!(concat!("../avro/", $file))),+];
                    VERSIONS.get_or_init(|| Versions::parse(Self::NAME, &texts))
                }
            }
        )*

        /// Name and text of every version of every schema, oldest version of a record first.
        pub const SCHEMAS: &[(&str, &[&str])] =
            &[$((stringify!($record), &[$(include_str!(concat!("../avro/", $file))),+])),*];
    };
}

// A new version of a record is a new file at the end of its line.
records! {
    Upstream: "upstream.v1.avsc";
    Sequenced: "sequenced.v1.avsc";
    Delivery: "delivery.v1.avsc";
    GroupTask: "group_task.v1.avsc";
    Presence: "presence.v1.avsc";
    Heartbeat: "heartbeat.v1.avsc";
    Head: "head.v1.avsc";
    DedupeWindow: "dedupe_window.v1.avsc";
    LogIdentity: "log_identity.v1.avsc";
}

/// A record of the `presence` topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    User(Presence),
    Slot(Heartbeat),
}

impl Record for PresenceEvent {
    const NAME: &'static str = "Presence or Heartbeat";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), AvroError> {
        match self {
            Self::User(presence) => presence.encode(out),
            Self::Slot(heartbeat) => heartbeat.encode(out),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, AvroError> {
        match Presence::decode(bytes) {
            Ok(presence) => Ok(Self::User(presence)),
            Err(AvroError::UnknownSchema { .. }) => Heartbeat::decode(bytes).map(Self::Slot),
            Err(e) => Err(e),
        }
    }
}
