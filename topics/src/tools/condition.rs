//! Choosing records by what is in them: `conversation_id=world`, `message.seq_id=7`.

use std::borrow::Cow;
use std::str::FromStr;

use schemas::json::{Field, FieldType, fields_of};
use serde_json::Value;

use super::nearest::did_you_mean;
use crate::catalogue::TopicSpec;

/// A field of a record must have a value; a list must hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    path: String,
    wanted: String,
}

/// A condition that no record can meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// The text has another form.
    #[error("{0:?} is no condition: write FIELD=VALUE, such as conversation_id=world")]
    Form(String),
    /// No record of the topic has the field.
    #[error("the records of {topic} have no field {field}{suggestion}; their fields are {known}")]
    NoSuchField {
        topic: &'static str,
        /// The field asked for.
        field: String,
        /// Asks for the nearest one, where one is near.
        suggestion: String,
        /// The fields they have.
        known: String,
    },
    /// The field has fields of its own.
    #[error("{field} of {topic} is a record: choose by one of its fields, which are {known}")]
    Record { topic: &'static str, field: String, known: String },
    /// The field never has such a value.
    #[error("{field} of {topic} is never {value:?}: it is {kind}{}", or_null(*.nullable))]
    NoSuchValue {
        topic: &'static str,
        field: String,
        /// The value asked for.
        value: String,
        /// What its values are.
        kind: FieldType,
        /// Whether it may be absent.
        nullable: bool,
    },
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        let (path, wanted) = text
            .split_once('=')
            .filter(|(path, _)| !path.is_empty())
            .ok_or_else(|| InvalidCondition::Form(text.into()))?;
        Ok(Self { path: path.into(), wanted: wanted.into() })
    }
}

impl Condition {
    /// Refuses what no record of a topic can meet.
    ///
    /// # Errors
    /// [`InvalidCondition`], but not its `Form`.
    pub fn check(&self, topic: &TopicSpec) -> Result<(), InvalidCondition> {
        let fields = fields_of(topic.record);
        let (topic, field) = (topic.name, self.path.clone());
        let inside = format!("message.{}", self.path);
        let Some(found) = [&self.path, &inside].into_iter().find_map(|path| fields.iter().find(|f| f.path == *path))
        else {
            let paths = || fields.iter().map(|field| field.path.as_str());
            let suggestion = did_you_mean(&field, paths());
            return Err(InvalidCondition::NoSuchField { topic, field, suggestion, known: listed(paths()) });
        };
        let Field { path, kind, nullable } = found;
        if *kind == FieldType::Record {
            let of_it = fields.iter().filter(|field| field.path.starts_with(&format!("{path}.")));
            return Err(InvalidCondition::Record {
                topic,
                field,
                known: listed(of_it.map(|field| field.path.as_str())),
            });
        }
        if kind.can_be(&self.wanted) || (*nullable && self.wanted == "null") {
            return Ok(());
        }
        let (value, kind, nullable) = (self.wanted.clone(), *kind, *nullable);
        Err(InvalidCondition::NoSuchValue { topic, field, value, kind, nullable })
    }

    /// Whether the fields of a record (`value` of [`record_json`](super::view::record_json)) meet it. A field
    /// that is not found is looked for in `message`, which deliveries and tasks carry.
    pub fn holds(&self, fields: &Value) -> bool {
        let at = |start: &Value| {
            let found = self.path.split('.').try_fold(start, |value, name| value.get(name))?;
            Some(match found {
                Value::Array(items) => items.iter().any(|item| self.is(item)),
                one => self.is(one),
            })
        };
        at(fields).or_else(|| at(fields.get("message")?)).unwrap_or(false)
    }

    /// Whether a value is printed as the wanted one.
    fn is(&self, value: &Value) -> bool {
        let printed = match value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Cow::Owned(value.to_string())
            }
        };
        printed == self.wanted
    }
}

fn or_null(nullable: bool) -> &'static str {
    if nullable { ", or null" } else { "" }
}

fn listed<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    paths.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::{DEAD_LETTERS, DELIVERIES, PRESENCE, SEQUENCED};

    fn condition(text: &str) -> Condition {
        text.parse().unwrap()
    }

    #[test]
    fn a_condition_compares_a_field_as_it_is_printed_and_looks_into_lists_and_the_message() {
        let message =
            json!({"conversation_id": "world", "seq_id": 7, "target_seq": null, "sender_id": "9007199254740993"});
        let fields = json!({"epoch": 9, "recipients": ["3", "9007199254740993"], "message": message});
        let holds = |text: &str| condition(text).holds(&fields);
        for text in [
            "epoch=9",
            "conversation_id=world",
            "message.seq_id=7",
            "seq_id=7",
            "target_seq=null",
            "sender_id=9007199254740993",
            "recipients=3",
            "recipients=9007199254740993",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "epoch=8",
            "conversation_id=worl",
            "conversation_id=",
            "message.epoch=9",
            "nothing=null",
            "sender_id=9007199254740992",
            "recipients=4",
        ] {
            assert!(!holds(text), "{text}");
        }
        assert!("no condition".parse::<Condition>().is_err() && "=x".parse::<Condition>().is_err());
    }

    #[test]
    fn a_field_that_no_record_has_is_refused_with_the_nearest_one_and_all_there_are() {
        let refusal = |text: &str, topic| condition(text).check(topic).unwrap_err().to_string();
        let said = refusal("senderId=3", &SEQUENCED.spec);
        assert!(
            said.starts_with("the records of sequenced-messages have no field senderId; did you mean sender_id?"),
            "{said}"
        );
        assert!(said.contains("client_msg_id, content, conversation_id"), "{said}");
        let said = refusal("message.sequence_id=3", &DELIVERIES.spec);
        assert!(said.contains("did you mean message.seq_id?") && said.contains("recipients"), "{said}");
        let said = refusal("seqid=3", &DELIVERIES.spec);
        assert!(said.contains("did you mean message.seq_id?"), "{said}");
        assert!(!refusal("xyzzy=3", &PRESENCE.spec).contains("did you mean"));
        for (text, topic) in [
            ("slot=3", &PRESENCE.spec),
            ("user_id=3", &PRESENCE.spec),
            ("seq_id=3", &DELIVERIES.spec),
            ("recipients=3", &DELIVERIES.spec),
            ("conversation_id=world", &DEAD_LETTERS.spec),
        ] {
            assert_eq!(condition(text).check(topic), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_value_that_a_field_never_has_is_refused_with_what_it_may_be() {
        let refusal = |text: &str| condition(text).check(&DELIVERIES.spec).unwrap_err().to_string();
        for (text, words) in [
            ("seq_id=seven", "a whole number of 64 bits"),
            ("seq_id=9223372036854775808", "a whole number of 64 bits"),
            ("sender_id=ann", "an id, such as"),
            ("sender_id=007", "an id, such as"),
            ("target_seq=", "a whole number of 64 bits, or null"),
            ("remove=yes", "true or false"),
            ("conversation_id=wrld", "group_{id} or world"),
            ("recipients=[\"3\"]", "an id, such as"),
            ("message=world", "message.seq_id"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
        assert_eq!(condition("target_seq=null").check(&SEQUENCED.spec), Ok(()));
    }
}
