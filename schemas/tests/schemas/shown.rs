//! Records as tools show them.

use schemas::avro::{AvroError, Record};
use schemas::json::{describe, hex};
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
    assert_eq!(shown.fields["recipients"], json!([1, 2]));
    assert_eq!(shown.fields["message"]["content"], json!("👍"));
    assert_eq!(shown.fields["message"]["message_id"], json!(1_u64 << 40));
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
