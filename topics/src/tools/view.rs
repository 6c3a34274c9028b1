//! A record as one JSON object, and choosing records by what is in them.

use std::str::FromStr;

use schemas::json::{describe, hex};
use schemas::time::rfc3339;
use serde_json::{Map, Value, json};

use crate::catalogue::TopicSpec;
use crate::headers::{Headers, Hop};
use crate::log::Incoming;

/// `{topic, partition, offset, time, key, headers, record, version, value}`; where the value is no
/// record, `error` and `bytes` (hexadecimal) in place of the last three.
pub fn record_json(topic: &TopicSpec, partition: u32, record: &Incoming) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), topic.name.into());
    object.insert("partition".into(), partition.into());
    object.insert("offset".into(), record.offset.into());
    object.insert("time".into(), rfc3339(record.time_ms).into());
    object.insert("key".into(), text_or_hex(&record.key));
    object.insert("headers".into(), headers_json(&record.headers));
    match describe(&record.value) {
        Ok(described) => {
            object.insert("record".into(), described.record.into());
            object.insert("version".into(), described.version.into());
            object.insert("value".into(), described.fields);
        }
        Err(error) => {
            object.insert("error".into(), error.to_string().into());
            object.insert("bytes".into(), hex(&record.value).into());
        }
    }
    object.into()
}

/// Headers as JSON; those that are not present are left out.
pub fn headers_json(headers: &Headers) -> Value {
    let mut object = Map::new();
    if let Some(trace) = headers.trace {
        object.insert("traceparent".into(), trace.to_string().into());
    }
    if let Some(origin) = headers.origin {
        let origin = json!({"slot": origin.slot, "epoch": origin.epoch, "socket": origin.socket});
        object.insert("origin".into(), origin);
    }
    if let Some(hops) = headers.hops {
        let mut times = Map::new();
        times.insert("admitted".into(), rfc3339(hops.admitted_at).into());
        for hop in Hop::ALL {
            times.extend(hops.after(hop).map(|ms| (format!("{}_ms", hop.name()), ms.into())));
        }
        object.insert("hops".into(), times.into());
    }
    object.extend(headers.other.iter().map(|(name, value)| (name.to_string(), text_or_hex(value))));
    object.into()
}

/// Bytes as text where they are UTF-8 without control characters, else as `0x…`.
pub fn text_or_hex(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        Ok(_) | Err(_) => format!("0x{}", hex(bytes)).into(),
    }
}

/// A field of a record must have a value: `conversation_id=world`, `message.seq_id=7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    path: Vec<String>,
    wanted: String,
}

/// Text that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no condition: write FIELD=VALUE, such as conversation_id=world")]
pub struct InvalidCondition(String);

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        let (path, wanted) =
            text.split_once('=').filter(|(path, _)| !path.is_empty()).ok_or_else(|| InvalidCondition(text.into()))?;
        Ok(Self { path: path.split('.').map(str::to_owned).collect(), wanted: wanted.into() })
    }
}

impl Condition {
    /// Whether the fields of a record (`value` of [`record_json`]) meet it. A field that is not found
    /// is looked for in `message`, which deliveries and tasks carry.
    pub fn holds(&self, fields: &Value) -> bool {
        let at = |start: &Value| {
            let found = self.path.iter().try_fold(start, |value, name| value.get(name))?;
            Some(match found {
                Value::String(text) => *text == self.wanted,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    let written = found.to_string();
                    written == self.wanted
                }
            })
        };
        at(fields).or_else(|| at(fields.get("message")?)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_compares_a_field_as_text_and_looks_into_the_message() {
        let fields = json!({"epoch": 9, "message": {"conversation_id": "world", "seq_id": 7, "target_seq": null}});
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&fields);
        for text in ["epoch=9", "conversation_id=world", "message.seq_id=7", "seq_id=7", "target_seq=null"] {
            assert!(holds(text), "{text}");
        }
        for text in ["epoch=8", "conversation_id=worl", "conversation_id=", "message.epoch=9", "nothing=null"] {
            assert!(!holds(text), "{text}");
        }
        assert!("no condition".parse::<Condition>().is_err() && "=x".parse::<Condition>().is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(text_or_hex("group_7".as_bytes()), json!("group_7"));
        assert_eq!(text_or_hex(b"\xff\x00"), json!("0xff00"));
        assert_eq!(text_or_hex(b"a\x1b[2J"), json!("0x611b5b324a"), "no escape sequence reaches a terminal");
    }
}
