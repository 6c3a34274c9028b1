//! The fields that the records of a topic have, by their schemas: what people may choose records by.

use std::collections::BTreeMap;
use std::fmt;

use apache_avro::Schema;

use crate::avro::{SCHEMAS, parsed};
use crate::ids::ConversationId;

/// The fields whose longs are ids; all others are seqs, epochs, times and counts (`tests/schemas/shown.rs`
/// knows them, so that a new field is put where it belongs).
pub(super) const IDS: [&str; 5] = ["message_id", "sender_id", "user_id", "group_id", "recipients"];
/// The field that names a conversation.
const CONVERSATION: &str = "conversation_id";

/// A field, as [`describe`](super::describe) shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, behind those of the records that it lies in: `message.seq_id`.
    pub path: String,
    /// What its values are; of a list, what its items are.
    pub kind: FieldType,
    /// Whether it may be absent, which is shown as `null`.
    pub nullable: bool,
}

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// An id: a 64-bit integer, shown as text.
    Id,
    /// A 64-bit integer.
    Long,
    /// A 32-bit integer.
    Int,
    /// `true` or `false`.
    Boolean,
    /// The name of a conversation.
    Conversation,
    Text,
    /// Bytes, shown as hexadecimal text.
    Bytes,
    /// Fields of its own.
    Record,
}

impl FieldType {
    /// Whether some value is shown as this text.
    pub fn can_be(self, text: &str) -> bool {
        match self {
            Self::Id | Self::Long => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
            Self::Int => text.parse::<i32>().is_ok_and(|number| number.to_string() == text),
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Conversation => text.parse::<ConversationId>().is_ok_and(|name| name.to_string() == text),
            Self::Text => true,
            Self::Bytes => text.len().is_multiple_of(2) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            Self::Record => false,
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "an id, such as 249978996303855616",
            Self::Long => "a whole number of 64 bits",
            Self::Int => "a whole number of 32 bits",
            Self::Boolean => "true or false",
            Self::Conversation => "single_{smaller user id}_{larger user id}, group_{id} or world",
            Self::Text => "text",
            Self::Bytes => "bytes in hexadecimal, two small letters or digits each",
            Self::Record => "a record with fields of its own",
        })
    }
}

/// The fields of a record in any of its versions, by path. A name that no schema has stands for records of
/// any kind, as dead letters are; one of several (`Presence or Heartbeat`) has the fields of each.
pub fn fields_of(record: &str) -> Vec<Field> {
    let named = |name: &str| record.split(" or ").any(|one| one == name);
    let any = !SCHEMAS.iter().any(|(name, _)| named(name));
    let mut found = BTreeMap::new();
    for (_, versions) in SCHEMAS.iter().filter(|(name, _)| any || named(name)) {
        for text in *versions {
            collect("", &parsed(text), &mut found);
        }
    }
    found.into_values().collect()
}

fn collect(prefix: &str, schema: &Schema, found: &mut BTreeMap<String, Field>) {
    let Schema::Record(record) = schema else { return };
    for field in &record.fields {
        let path = format!("{prefix}{}", field.name);
        let (schema, nullable) = innermost(&field.schema);
        let kind = kind_of(&field.name, schema);
        collect(&format!("{path}."), schema, found);
        found.insert(path.clone(), Field { path, kind, nullable });
    }
}

/// A schema without its list or `null`, and whether it may be `null`.
fn innermost(schema: &Schema) -> (&Schema, bool) {
    match schema {
        Schema::Array(list) => innermost(&list.items),
        Schema::Union(union) => {
            let value = union.variants().iter().find(|variant| !matches!(variant, Schema::Null));
            (value.map_or(schema, |value| innermost(value).0), union.is_nullable())
        }
        _ => (schema, false),
    }
}

fn kind_of(name: &str, schema: &Schema) -> FieldType {
    match schema {
        Schema::Long if IDS.contains(&name) => FieldType::Id,
        Schema::Long => FieldType::Long,
        Schema::Int => FieldType::Int,
        Schema::Boolean => FieldType::Boolean,
        Schema::Bytes => FieldType::Bytes,
        Schema::Record(_) => FieldType::Record,
        _ if name == CONVERSATION => FieldType::Conversation,
        _ => FieldType::Text,
    }
}
