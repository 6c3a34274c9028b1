//! What happens on the day that a record gets a second version, shown with one that is only here.
//!
//! New code reads old records: a field that the writer lacked gets its default. Old code reads new
//! records once it knows their schema: the field that it has no place for is skipped. Old code that
//! does not know the schema refuses by the fingerprint, so readers are updated before writers.
//! Renaming, retyping and removing a field are not possible: there is no schema resolution.

use apache_avro::{AvroSchema, Schema};
use schemas::avro::{AvroError, Record, SCHEMAS, Versions};
use schemas::records::Heartbeat;
use serde::{Deserialize, Serialize};

use crate::samples::{bytes_of, heartbeat};

const SECOND: &str = r#"{
  "type": "record", "name": "Heartbeat", "namespace": "gochat.v1",
  "fields": [
    {"name": "slot", "type": "int"},
    {"name": "epoch", "type": "long"},
    {"name": "at", "type": "long"},
    {"name": "region", "type": "string", "default": "home"},
    {"name": "load", "type": ["null", "int"], "default": null}
  ]
}"#;

/// The heartbeat as the code of the second version would have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Heartbeat")]
struct SecondHeartbeat {
    slot: i32,
    epoch: i64,
    at: i64,
    #[serde(default = "home")]
    region: String,
    #[serde(default)]
    load: Option<i32>,
}

fn home() -> String {
    "home".to_owned()
}

impl AvroSchema for SecondHeartbeat {
    fn get_schema() -> Schema {
        Schema::parse_str(SECOND).unwrap()
    }
}

fn first() -> &'static str {
    SCHEMAS.iter().find(|(name, _)| *name == Heartbeat::NAME).unwrap().1[0]
}

fn second_bytes() -> Vec<u8> {
    let record = SecondHeartbeat { slot: 2, epoch: 3, at: 4, region: "north".into(), load: Some(7) };
    let mut out = Vec::new();
    Versions::parse("Heartbeat", &[first(), SECOND]).encode(&record, &mut out).unwrap();
    out
}

#[test]
fn new_code_reads_old_records_with_the_defaults() {
    let versions = Versions::<SecondHeartbeat>::parse("Heartbeat", &[first(), SECOND]);
    let Heartbeat { slot, epoch, at } = heartbeat();
    let read = versions.decode(&bytes_of(&heartbeat())).unwrap();
    assert_eq!(read, SecondHeartbeat { slot, epoch, at, region: home(), load: None });
    assert_eq!(versions.decode(&second_bytes()).unwrap().region, "north");
}

#[test]
fn old_code_that_knows_the_new_schema_skips_what_it_has_no_place_for() {
    let versions = Versions::<Heartbeat>::parse("Heartbeat", &[SECOND, first()]);
    assert_eq!(versions.decode(&second_bytes()).unwrap(), heartbeat());
}

#[test]
fn old_code_that_does_not_know_the_new_schema_refuses_it() {
    let refused = Heartbeat::decode(&second_bytes());
    assert!(matches!(refused, Err(AvroError::UnknownSchema { expected: "Heartbeat", .. })), "{refused:?}");
}
