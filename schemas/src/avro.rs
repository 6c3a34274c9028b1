//! Records to bytes and back: Avro single-object encoding (Avro 1.12 specification, "Single object
//! encoding": `C3 01`, the little-endian CRC-64-AVRO fingerprint of the writer's schema, the datum).
//!
//! A record is read with the schema of whoever wrote it, straight into the newest struct, by serde;
//! fields that an older writer lacked get their serde default, which equals the schema's default
//! (`tests/avro.rs` proves it). There is no schema resolution on this path: a change of a schema is
//! a new file, listed here, that only adds fields with defaults.

use std::sync::OnceLock;

use apache_avro::{AvroSchema, GenericSingleObjectReader, Schema, SpecificSingleObjectWriter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::records::{DedupeWindow, Delivery, GroupTask, Head, Heartbeat, Presence, Sequenced, Upstream};

/// `C3 01` and the 8 bytes of the fingerprint.
pub const HEADER_BYTES: usize = 10;

/// Bytes that are not a record, or a record that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    /// Shorter than the header, or not starting with `C3 01`.
    #[error("not an Avro single object: {len} bytes, starting with {start:02x?}")]
    NotAnObject {
        /// How many bytes there were.
        len: usize,
        /// The first two of them.
        start: Vec<u8>,
    },
    /// The fingerprint is of no version of the expected record.
    #[error("fingerprint {fingerprint:016x} is of no known version of {expected}")]
    UnknownSchema {
        /// The fingerprint found.
        fingerprint: u64,
        /// The record that was expected.
        expected: &'static str,
    },
    /// The datum does not follow its schema.
    #[error("{record} could not be read")]
    Read {
        /// The record.
        record: &'static str,
        /// What Avro says.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// Bytes were left over behind the datum.
    #[error("{left} bytes follow the end of a {record}")]
    TrailingBytes {
        /// The record.
        record: &'static str,
        /// How many bytes.
        left: usize,
    },
    /// The value does not fit its schema.
    #[error("{record} could not be written")]
    Write {
        /// The record.
        record: &'static str,
        /// What Avro says.
        #[source]
        source: Box<apache_avro::Error>,
    },
}

/// A record of a topic.
pub trait Record: Sized + Send + Sync + 'static {
    /// Its name, for errors and tools.
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

/// Every version of one record's schema, oldest first.
struct Versions<T: AvroSchema> {
    writer: SpecificSingleObjectWriter<T>,
    readers: Vec<([u8; HEADER_BYTES], GenericSingleObjectReader)>,
}

impl<T: AvroSchema> Versions<T> {
    fn parse(texts: &[&str]) -> Self {
        let reader = |text: &&str| {
            let schema = parsed(text);
            let header = header_of(&schema);
            let reader = GenericSingleObjectReader::builder().schema(schema).build();
            (header, reader.expect("schemas in the repository resolve: tests/avro.rs"))
        };
        Self {
            writer: SpecificSingleObjectWriter::new().expect("schemas in the repository resolve: tests/avro.rs"),
            readers: texts.iter().rev().map(reader).collect(),
        }
    }
}

fn parsed(text: &str) -> Schema {
    Schema::parse_str(text).expect("schemas in the repository parse: tests/avro.rs")
}

/// The header that objects of this schema start with.
pub fn header_of(schema: &Schema) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..2].copy_from_slice(&[0xC3, 0x01]);
    header[2..].copy_from_slice(&schema.fingerprint::<apache_avro::rabin::Rabin>().bytes);
    header
}

fn decode_with<T: DeserializeOwned + AvroSchema>(
    versions: &Versions<T>,
    name: &'static str,
    bytes: &[u8],
) -> Result<T, AvroError> {
    let header = bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(&[0xC3, 0x01]));
    let Some(header) = header else {
        return Err(AvroError::NotAnObject { len: bytes.len(), start: bytes.iter().take(2).copied().collect() });
    };
    let Some((_, reader)) = versions.readers.iter().find(|(known, _)| known == header) else {
        let fingerprint = header[2..].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        return Err(AvroError::UnknownSchema { fingerprint, expected: name });
    };
    let mut rest = bytes;
    let record = reader.read_deser(&mut rest).map_err(|e| AvroError::Read { record: name, source: Box::new(e) })?;
    if rest.is_empty() { Ok(record) } else { Err(AvroError::TrailingBytes { record: name, left: rest.len() }) }
}

fn encode_with<T: Serialize + AvroSchema>(
    versions: &Versions<T>,
    name: &'static str,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), AvroError> {
    versions.writer.write_ref(value, out).map_err(|e| AvroError::Write { record: name, source: Box::new(e) })?;
    Ok(())
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
                    encode_with($record::versions(), Self::NAME, self, out)
                }

                fn decode(bytes: &[u8]) -> Result<Self, AvroError> {
                    decode_with($record::versions(), Self::NAME, bytes)
                }
            }

            impl $record {
                fn versions() -> &'static Versions<$record> {
                    static VERSIONS: OnceLock<Versions<$record>> = OnceLock::new();
                    VERSIONS.get_or_init(|| Versions::parse(&[$(include_str!(concat!("../avro/", $file))),+]))
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
}

/// What the `presence` topic carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    /// A user came or left.
    User(Presence),
    /// A slot is alive.
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
