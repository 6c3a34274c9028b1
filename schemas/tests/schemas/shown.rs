//! Records as tools show them.

use schemas::avro::{AvroError, Record};
use schemas::json::{FieldType, describe, fields_of, hex};
use schemas::records::{DedupeWindow, Delivery};
use serde_json::json;

use crate::samples;

fn bytes(record: &impl Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_record_of_any_topic_is_shown_by_the_schema_it_was_written_with() {
    let delivery: Delivery = samples::delivery();
    let shown = describe(&bytes(&delivery)).unwrap();
    assert_eq!((shown.record, shown.version), ("Delivery", 1));
    assert_eq!(shown.fields["recipients"], json!(["1", "2"]), "ids are text, in lists too");
    assert_eq!(shown.fields["message"]["content"], json!("👍"));
    assert_eq!(shown.fields["message"]["message_id"], json!((1_u64 << 40).to_string()), "and in nested records");
    assert!(shown.fields["message"]["seq_id"].is_number() && shown.fields["epoch"].is_number());
    assert_eq!(shown.fields["message"]["target_seq"], json!(null));

    let window = DedupeWindow { hashes: vec![0xab; 16], times: vec![7] };
    assert_eq!(describe(&bytes(&window)).unwrap().fields["hashes"], json!(hex(&[0xab; 16])));
}

#[test]
fn bytes_that_are_no_record_are_said_to_be_none() {
    let mut longer = bytes(&samples::upstream());
    longer.push(0);
    assert!(matches!(describe(&longer), Err(AvroError::TrailingBytes { left: 1, .. })));
    assert!(matches!(describe(b"hello"), Err(AvroError::NotAnObject { len: 5, .. })));
    assert!(matches!(
        describe(b"\xc3\x01not known"),
        Err(AvroError::NotAnObject { .. } | AvroError::UnknownSchema { .. })
    ));
    let whole = bytes(&samples::upstream());
    for len in 0..whole.len() {
        assert!(describe(&whole[..len]).is_err(), "a record cut at {len} was shown");
    }
}

#[test]
fn every_long_of_every_schema_is_known_to_be_an_id_or_a_number() {
    let numbers = ["at", "created_at", "epoch", "ordinal", "seq_id", "target_seq", "times"];
    let ids = ["group_id", "message_id", "recipients", "sender_id", "user_id"];
    for field in fields_of("a record of any kind") {
        let name = field.path.rsplit('.').next().unwrap();
        match field.kind {
            FieldType::Id => assert!(ids.contains(&name), "{} is shown as an id", field.path),
            FieldType::Long => assert!(numbers.contains(&name), "{} is shown as a number: is it an id?", field.path),
            FieldType::Int
            | FieldType::Boolean
            | FieldType::Conversation
            | FieldType::Text
            | FieldType::Bytes
            | FieldType::Record => {}
        }
    }
}

#[test]
fn a_record_s_fields_are_told_by_their_paths() {
    let paths = |record| fields_of(record).into_iter().map(|field| field.path).collect::<Vec<_>>();
    assert_eq!(paths("Head"), ["conversation_id", "message_id", "ordinal", "seq_id"]);
    assert_eq!(paths("Presence or Heartbeat"), ["at", "epoch", "online", "slot", "user_id"]);
    let delivery = fields_of("Delivery");
    let target = delivery.iter().find(|field| field.path == "message.target_seq").unwrap();
    assert_eq!((target.kind, target.nullable), (FieldType::Long, true));
}
