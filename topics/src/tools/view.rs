//! A record as one JSON object.

use schemas::json::{describe, hex};
use schemas::time::rfc3339;
use serde_json::{Map, Value, json};

use crate::catalogue::TopicSpec;
use crate::headers::{Headers, Hop};
use crate::log::Incoming;

/// `{topic, partition, offset, time, key, headers, record, version, value}`; where the value is no
/// record, `error` and `bytes` (hexadecimal) in place of the last three.
pub fn record_json(topic: &TopicSpec, partition: u32, record: &Incoming, hops: &[Hop]) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), topic.name.into());
    object.insert("partition".into(), partition.into());
    object.insert("offset".into(), record.offset.into());
    object.insert("time".into(), rfc3339(record.time_ms).into());
    object.insert("key".into(), text_or_hex(&record.key));
    object.insert("headers".into(), headers_json(&record.headers, hops));
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

/// Headers as JSON, with the times of these hops; those that are not present are left out.
pub fn headers_json(headers: &Headers, hops: &[Hop]) -> Value {
    let mut object = Map::new();
    if let Some(trace) = headers.trace {
        object.insert("traceparent".into(), trace.to_string().into());
    }
    if let Some(origin) = headers.origin {
        let origin = json!({"slot": origin.slot, "epoch": origin.epoch, "socket": origin.socket.to_string()});
        object.insert("origin".into(), origin);
    }
    if let Some(passed) = headers.hops {
        let mut times = Map::new();
        times.insert("admitted".into(), rfc3339(passed.admitted_at).into());
        for &hop in hops {
            times.extend(passed.after(hop).map(|ms| (format!("{}_ms", hop.name().replace('-', "_")), ms.into())));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Origin;

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(text_or_hex("group_7".as_bytes()), json!("group_7"));
        assert_eq!(text_or_hex(b"\xff\x00"), json!("0xff00"));
        assert_eq!(text_or_hex(b"a\x1b[2J"), json!("0x611b5b324a"), "no escape sequence reaches a terminal");
    }

    #[test]
    fn the_id_of_a_socket_is_text_as_every_id_is() {
        let origin = Some(Origin { slot: 3, epoch: 1_700_000_000_000, socket: u64::MAX });
        let shown = headers_json(&Headers { origin, ..Headers::default() }, &[]);
        assert_eq!(
            shown["origin"],
            json!({"slot": 3, "epoch": 1_700_000_000_000_i64, "socket": "18446744073709551615"})
        );
    }
}
