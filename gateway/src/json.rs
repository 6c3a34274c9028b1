//! JSON of clients, read strictly: an object is written as an object.
//!
//! serde's derived structs also take an array of their fields' values. [`from_slice`] and, for a struct within another,
//! [`Object`] do not. The other rules are `serde_json`'s: a known field comes once, a number is no text and has no
//! fraction where an integer is wanted, nothing follows the value, text is UTF-8. `null` stands for an optional field
//! that is left out.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

/// Reads an object, and nothing behind it.
///
/// # Errors
/// When it is not JSON, or not an object, or has another form than `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Object<T>>(bytes).map(|object| object.0)
}

/// A struct that is read from an object only.
#[derive(Debug, Default, PartialEq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        name: String,
        count: Option<i64>,
        inner: Option<Object<Inner>>,
        #[serde(default)]
        list: Vec<Object<Inner>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        flag: bool,
    }

    fn read(text: impl AsRef<[u8]>) -> Option<Outer> {
        from_slice(text.as_ref()).ok()
    }

    #[test]
    fn objects_are_read_at_any_depth() {
        let inner = |flag| Object(Inner { flag });
        let all = r#" {"name": "n", "count": 7, "inner": {"flag": true}, "list": [{"flag": false}], "more": [[1]]} "#;
        let expected = Outer { name: "n".into(), count: Some(7), inner: Some(inner(true)), list: vec![inner(false)] };
        assert_eq!(read(all), Some(expected));
        let nulls = Outer { name: "n".into(), count: None, inner: None, list: Vec::new() };
        assert_eq!(read(r#"{"name": "n", "count": null, "inner": null}"#), Some(nulls));
        assert!(read(format!(r#"{{"name": "n", "deep": {}{}}}"#, "[".repeat(500), "]".repeat(500))).is_some());
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for text in [r#"["n"]"#, r#"["n", 7, [true], []]"#, "[]"] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in [r#"{"name": "n", "inner": [true]}"#, r#"{"name": "n", "list": [[true]]}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_nearly_right_is_refused() {
        for text in [
            r#"{"name": "n"} x"#,
            r#"{"name": "n"}{"name": "n"}"#,
            r#"{"name": "n", "name": "m"}"#,
            r#"{"name": null}"#,
            r#"{"name": 7}"#,
            r#"{"name": "n", "count": "7"}"#,
            r#"{"name": "n", "count": 7.0}"#,
            r#"{"name": "n", "count": 7e0}"#,
            r#"{"name": "n", "count": 9223372036854775808}"#,
            r#"{"name": "n", "count": true}"#,
            r#"{"name": "n", "inner": {"flag": 1}}"#,
            r#"{"name": "n", "inner": {"flag": "true"}}"#,
            r#"{"name": "\ud800"}"#,
            r#"{"name": "n",}"#,
            r#"{'name': 'n'}"#,
            "\u{feff}{\"name\": \"n\"}",
            r#""n""#,
            "7",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(b"{\"name\": \"\xff\"}"), None);
    }
}
