//! Every version of every schema is read by the newest code, and defaults mean the same in the schema
//! and in the struct.

use std::fmt::Debug;

use apache_avro::types::Value;
use apache_avro::{AvroSchema, GenericSingleObjectReader, GenericSingleObjectWriter, Schema};
use schemas::avro::{Record, SCHEMAS, Versions};
use schemas::records::{
    DedupeWindow, Delivery, GroupTask, Head, Heartbeat, LogIdentity, Presence, Sequenced, Upstream,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::samples::{self, bytes_of};

/// Calls a check with the newest record of each schema. A schema that is not listed here fails.
fn for_each_record(check: &impl Check) {
    check.check(samples::upstream());
    check.check(samples::sequenced());
    check.check(samples::delivery());
    check.check(samples::group_task());
    check.check(samples::presence());
    check.check(samples::heartbeat());
    check.check(samples::head());
    check.check(samples::dedupe_window());
    check.check(samples::log_identity());
    let listed = [
        Upstream::NAME,
        Sequenced::NAME,
        Delivery::NAME,
        GroupTask::NAME,
        Presence::NAME,
        Heartbeat::NAME,
        Head::NAME,
        DedupeWindow::NAME,
        LogIdentity::NAME,
    ];
    assert!(SCHEMAS.iter().map(|(name, _)| *name).eq(listed));
}

trait Check {
    fn check<T>(&self, sample: T)
    where
        T: Record + AvroSchema + Serialize + DeserializeOwned + PartialEq + Debug;
}

fn texts_of(name: &str) -> &'static [&'static str] {
    SCHEMAS.iter().find(|(known, _)| *known == name).expect("every record has a schema").1
}

fn json_of(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// The fields of a record schema.
fn fields(schema: &Json) -> &Vec<Json> {
    schema["fields"].as_array().unwrap()
}

/// A value of a schema, in the plain form of a datum; what the text of a field must look like goes by
/// its name.
fn value_of(schema: &Json, field: &str) -> Value {
    match schema {
        Json::Array(branches) => Value::Union(1, Box::new(value_of(&branches[1], field))),
        Json::Object(object) => match object["type"].as_str().unwrap() {
            "record" => {
                let value = |field: &Json| {
                    let name = field["name"].as_str().unwrap();
                    (name.to_owned(), value_of(&field["type"], name))
                };
                Value::Record(fields(schema).iter().map(value).collect())
            }
            "array" => Value::Array(vec![value_of(&object["items"], field); 2]),
            other => value_of(&Json::from(other), field),
        },
        Json::String(name) => match (name.as_str(), field) {
            ("string", "conversation_id") => Value::String("group_70".into()),
            ("string", "kind") => Value::String("text".into()),
            ("string", _) => Value::String("said".into()),
            ("long", _) => Value::Long(123_456_789_012),
            ("int", _) => Value::Int(12),
            ("boolean", _) => Value::Boolean(true),
            ("bytes", _) => Value::Bytes((0..32).collect()),
            other => panic!("no value is known for {other:?}"),
        },
        other => panic!("not a schema: {other}"),
    }
}

fn written(schema: &str, value: Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = GenericSingleObjectWriter::new_with_capacity(&Schema::parse_str(schema).unwrap(), 256).unwrap();
    writer.write_value(value, &mut out).unwrap();
    out
}

/// The schema without its fields that have a default: what an older version may have been.
fn without_defaults(schema: &Json) -> Json {
    match schema {
        Json::Object(object) => {
            let mut object = object.clone();
            if let Some(Json::Array(fields)) = object.get_mut("fields") {
                fields.retain(|field| field.get("default").is_none());
            }
            object.into_iter().map(|(key, value)| (key, without_defaults(&value))).collect()
        }
        Json::Array(items) => items.iter().map(without_defaults).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_version_is_read_by_the_newest_code_and_written_by_it_again() {
    struct Reads;
    impl Check for Reads {
        fn check<T>(&self, _sample: T)
        where
            T: Record + AvroSchema + Serialize + DeserializeOwned + PartialEq + Debug,
        {
            let texts = texts_of(T::NAME);
            for text in texts {
                let record = T::decode(&written(text, value_of(&json_of(text), ""))).unwrap();
                let again = bytes_of(&record);
                assert_eq!(T::decode(&again).unwrap(), record, "{}", T::NAME);
                // The newest schema reads it too, by its own rules.
                let newest = Schema::parse_str(texts.last().unwrap()).unwrap();
                let reader = GenericSingleObjectReader::builder().schema(newest).build().unwrap();
                assert!(matches!(reader.read_value(&mut again.as_slice()), Ok(Value::Record(_))));
            }
        }
    }
    for_each_record(&Reads);
}

#[test]
fn struct_and_newest_schema_have_the_same_fields_in_the_same_order() {
    struct SameFields;
    impl Check for SameFields {
        fn check<T>(&self, sample: T)
        where
            T: Record + AvroSchema + Serialize + DeserializeOwned + PartialEq + Debug,
        {
            let newest = json_of(texts_of(T::NAME).last().unwrap());
            let text = serde_json::to_string(&sample).unwrap();
            let mut from = 0;
            for field in fields(&newest) {
                let name = format!("\"{}\":", field["name"].as_str().unwrap());
                from += text[from..].find(&name).unwrap_or_else(|| panic!("{} has no {name} in turn", T::NAME));
            }
            let object: serde_json::Map<String, Json> = serde_json::from_str(&text).unwrap();
            assert_eq!(object.len(), fields(&newest).len(), "{}", T::NAME);
        }
    }
    for_each_record(&SameFields);
}

#[test]
fn a_field_that_the_writer_lacked_gets_the_default_of_the_schema() {
    struct Defaults;
    impl Check for Defaults {
        fn check<T>(&self, _sample: T)
        where
            T: Record + AvroSchema + Serialize + DeserializeOwned + PartialEq + Debug,
        {
            let newest = json_of(texts_of(T::NAME).last().unwrap());
            let older = without_defaults(&newest);
            let versions = Versions::<T>::parse(T::NAME, &[&older.to_string(), &newest.to_string()]);
            let record = versions.decode(&written(&older.to_string(), value_of(&older, ""))).unwrap();
            compare(&newest, &serde_json::to_value(&record).unwrap(), T::NAME);
        }
    }
    fn compare(schema: &Json, record: &Json, name: &str) {
        for field in fields(schema) {
            let value = &record[field["name"].as_str().unwrap()];
            if let Some(default) = field.get("default") {
                assert_eq!(value, default, "{name}.{}", field["name"]);
            } else if field["type"]["type"] == "record" {
                compare(&field["type"], value, name);
            }
        }
    }
    for_each_record(&Defaults);
}

#[test]
fn a_new_version_only_adds_fields_with_defaults() {
    for (name, texts) in SCHEMAS {
        for pair in texts.windows(2) {
            let (older, newer) = (json_of(pair[0]), json_of(pair[1]));
            let strip = |schema: &Json| fields(schema).clone();
            let kept: Vec<Json> = strip(&newer).into_iter().filter(|field| strip(&older).contains(field)).collect();
            assert_eq!(kept, strip(&older), "{name}: a field was changed, moved or removed");
            let added = strip(&newer).into_iter().filter(|field| !kept.contains(field));
            assert!(
                added.into_iter().all(|field| field.get("default").is_some()),
                "{name}: a new field has no default"
            );
        }
    }
}
