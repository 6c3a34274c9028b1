//! JSON of clients, read strictly: an object is written as an object.
//!
//! serde's derived structs take an array of their fields' values for the struct itself. Read through [`Objects`],
//! which asks for a map wherever a struct is wanted, at any depth, they do not. All else is `serde_json`'s rule: a
//! known field comes once, a number is no text and has no fraction where an integer is wanted, nothing follows the
//! value, text is UTF-8. `null` stands for an optional field that is left out.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

/// Reads a value, and nothing behind it.
///
/// # Errors
/// When it is not JSON, or has another form than `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Objects(&mut json))?;
    json.end()?;
    Ok(value)
}

/// Whatever it is wrapped around, without arrays for objects.
struct Objects<T>(T);

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Objects(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Objects(visitor))
    }

    pass_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(entries))
    }

    /// As it is: what clients send has no variants with fields.
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Objects(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        name: String,
        #[serde(default)]
        count: Option<i64>,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
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
        let inner = |flag| Inner { flag };
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
