//! Any record as JSON, for tools that show topics. It is read with its writer's schema, so it shows what was written,
//! not what the newest version makes of it.
//!
//! Ids are decimal strings, as in REST: `jq` and JavaScript round JSON numbers beyond 2^53. Other numbers stay numbers,
//! bytes become hexadecimal text, an absent value is `null`.

mod fields;

use std::io::{self, Read};
use std::sync::OnceLock;

use apache_avro::GenericSingleObjectReader;
use apache_avro::types::Value as Avro;
use serde_json::{Map, Value};

use crate::avro::{AvroError, HEADER_BYTES, SCHEMAS, body_reader, header_of, parsed, split_header};

pub use self::fields::{Field, FieldType, fields_of};

/// A record as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub record: &'static str,
    /// Version of the schema, from 1.
    pub version: usize,
    pub fields: Value,
}

/// Reads the bytes of a record of any topic.
///
/// # Errors
/// [`AvroError::NotAnObject`], [`AvroError::UnknownSchema`], [`AvroError::Read`],
/// [`AvroError::Truncated`] or [`AvroError::TrailingBytes`].
pub fn describe(bytes: &[u8]) -> Result<Described, AvroError> {
    let (header, left) = split_header(bytes)?;
    let Some(known) = known().iter().find(|known| known.header == *header) else {
        return Err(AvroError::unknown_schema(header, "a record of any topic"));
    };
    let record = known.record;
    let mut body = Body { left, ran_out: false };
    let read = known.reader.read_value(&mut body);
    let value = read.map_err(|e| AvroError::Read { record, source: Box::new(e) })?;
    if body.ran_out {
        return Err(AvroError::Truncated { record });
    }
    if !body.left.is_empty() {
        return Err(AvroError::TrailingBytes { record, left: body.left.len() });
    }
    Ok(Described { record, version: known.version, fields: to_json(value, Long::Number) })
}

/// Bytes as hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text
}

/// A reader that remembers whether it ran out of bytes: the Avro library takes a text or boolean that is cut off for an
/// absent one.
struct Body<'a> {
    left: &'a [u8],
    ran_out: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.ran_out |= into.len() > self.left.len();
        self.left.read(into)
    }
}

struct Known {
    header: [u8; HEADER_BYTES],
    record: &'static str,
    version: usize,
    reader: GenericSingleObjectReader,
}

fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let versions =
            SCHEMAS.iter().flat_map(|(record, texts)| (1..).zip(*texts).map(move |(n, text)| (*record, n, text)));
        let known = |(record, version, text): (&'static str, usize, &&str)| {
            let schema = parsed(text);
            Known { header: header_of(&schema), record, version, reader: body_reader(schema) }
        };
        versions.map(known).collect()
    })
}

/// What a field's 64-bit integers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Long {
    /// Ids, or a list of ids.
    Id,
    /// Seqs, offsets, epochs, times and counts.
    Number,
}

impl Long {
    fn of(field: &str) -> Self {
        if fields::IDS.contains(&field) { Self::Id } else { Self::Number }
    }
}

fn to_json(value: Avro, long: Long) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(yes) => yes.into(),
        Avro::Int(n) | Avro::Date(n) | Avro::TimeMillis(n) => n.into(),
        Avro::Long(n) => match long {
            Long::Id => n.to_string().into(),
            Long::Number => n.into(),
        },
        Avro::TimeMicros(n)
        | Avro::TimestampMillis(n)
        | Avro::TimestampMicros(n)
        | Avro::TimestampNanos(n)
        | Avro::LocalTimestampMillis(n)
        | Avro::LocalTimestampMicros(n)
        | Avro::LocalTimestampNanos(n) => n.into(),
        Avro::Float(n) => n.into(),
        Avro::Double(n) => n.into(),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => hex(&bytes).into(),
        Avro::String(text) | Avro::Enum(_, text) => text.into(),
        Avro::Union(_, inner) => to_json(*inner, long),
        Avro::Array(items) => items.into_iter().map(|item| to_json(item, long)).collect(),
        Avro::Map(entries) => {
            entries.into_iter().map(|(name, value)| (name, to_json(value, long))).collect::<Map<_, _>>().into()
        }
        Avro::Record(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let long = Long::of(&name);
                (name, to_json(value, long))
            })
            .collect::<Map<_, _>>()
            .into(),
        // None of the project's schemas has these.
        Avro::Decimal(_) | Avro::BigDecimal(_) | Avro::Duration(_) | Avro::Uuid(_) => format!("{value:?}").into(),
    }
}
