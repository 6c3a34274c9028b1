//! The layers of the configuration, as one tree: defaults, below the file, below the environment.
//!
//! The defaults say which keys there are, and what kind each is: the kind decides how a text from the
//! environment is read, so that a password of digits stays a password.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stages::repo::address;

use super::error::{ConfigError, Origin};

/// Begins every variable that sets something: `GOCHAT__GATEWAY__LISTEN`.
const PREFIX: &str = "GOCHAT__";
/// Stands between sections and key.
const SEPARATOR: &str = "__";
/// A variable that begins so is meant for this program.
const OURS: &str = "GOCHAT";
/// Variables of the project's own tests, which set nothing here.
const OF_TESTS: [&str; 2] = ["GOCHAT_TEST_", "GOCHAT_SIMULATE_"];

/// Where each value that is not a default comes from, by key.
pub type Origins = BTreeMap<String, Origin>;

/// Values by key, and where they come from.
pub struct Layers {
    defaults: BTreeMap<String, Value>,
    values: BTreeMap<String, Value>,
    origins: Origins,
}

impl Layers {
    /// The defaults alone.
    pub fn over(defaults: &impl Serialize) -> Self {
        let mut leaves = BTreeMap::new();
        let tree = serde_json::to_value(defaults).expect("a configuration is a tree of plain values");
        flatten(String::new(), tree, &mut leaves);
        Self { defaults: leaves.clone(), values: leaves, origins: Origins::new() }
    }

    /// What a TOML file sets.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing { path: path.into() },
            _ => ConfigError::Unreadable { path: path.into(), source },
        })?;
        let tree: Map<String, Value> = toml::from_str(&text).map_err(|error| not_toml(path, &text, &error))?;
        let origin = Origin::File(path.into());
        for (key, value) in tree {
            self.take_in(key, value, path, &origin)?;
        }
        Ok(())
    }

    fn take_in(&mut self, key: String, value: Value, path: &Path, origin: &Origin) -> Result<(), ConfigError> {
        if self.defaults.contains_key(&key) {
            return self.set(key, value, origin.clone());
        }
        let is_section = self.defaults.keys().any(|known| is_inside(known, &key));
        match value {
            Value::Object(section) if is_section => section
                .into_iter()
                .try_for_each(|(name, value)| self.take_in(format!("{key}.{name}"), value, path, origin)),
            _ if is_section => Err(ConfigError::Form {
                value: shown(&key, &value),
                key,
                origin: origin.clone(),
                reason: "it is a section, with settings of its own".into(),
            }),
            _ => {
                let nearest = nearest(&key, self.defaults.keys().cloned());
                Err(ConfigError::UnknownKey { path: path.into(), key, nearest })
            }
        }
    }

    /// What variables of the environment set.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (name, text) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(OURS)).map(str::to_owned) else { continue };
            if OF_TESTS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let key = name.strip_prefix(PREFIX).map(|rest| rest.to_ascii_lowercase().replace(SEPARATOR, "."));
            let Some((key, default)) = key.and_then(|key| self.defaults.get_key_value(&key)) else {
                let nearest = nearest(&name, self.defaults.keys().map(|key| variable(key)));
                return Err(ConfigError::UnknownVariable { name, nearest });
            };
            let origin = Origin::Variable(name);
            let (key, read) = (key.clone(), text.to_str().map(|text| read(text, default)));
            match read.unwrap_or_else(|| Err("it is not UTF-8".to_owned())) {
                Ok(value) => self.set(key, value, origin)?,
                Err(reason) => {
                    let value = shown(&key, &Value::String(text.to_string_lossy().into_owned()));
                    return Err(ConfigError::Form { value, key, origin, reason });
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: String, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let default = &self.defaults[&key];
        let fits = match (default, &value) {
            (Value::Number(_), Value::Number(number)) => number.is_u64(),
            (Value::Bool(_), Value::Bool(_)) | (Value::String(_) | Value::Null, Value::String(_)) => true,
            (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_string),
            (default, value) => default.is_null() && value.is_null(),
        };
        if !fits {
            return Err(ConfigError::Form { value: shown(&key, &value), key, origin, reason: kind(default).into() });
        }
        self.origins.insert(key.clone(), origin);
        self.values.insert(key, value);
        Ok(())
    }

    /// All of it, as the configuration that it is.
    pub fn read<T: DeserializeOwned>(self) -> Result<(T, Origins), ConfigError> {
        let mut tree = Value::Object(Map::new());
        for (key, value) in &self.values {
            let place = key.split('.').fold(&mut tree, |section, name| {
                let section = section.as_object_mut().expect("a section has no value of its own");
                section.entry(name).or_insert_with(|| Value::Object(Map::new()))
            });
            *place = value.clone();
        }
        match serde_path_to_error::deserialize(tree) {
            Ok(config) => Ok((config, self.origins)),
            Err(error) => {
                let path = error.path().to_string();
                let key = path.split('[').next().unwrap_or_default().to_owned();
                let value = self.values.get(&key).map_or_else(String::new, |value| shown(&key, value));
                let origin = self.origins.get(&key).cloned().unwrap_or(Origin::Default);
                Err(ConfigError::Form { key, value, origin, reason: in_words(&error.into_inner().to_string()) })
            }
        }
    }
}

fn flatten(key: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(section) => {
            for (name, value) in section {
                flatten(if key.is_empty() { name } else { format!("{key}.{name}") }, value, leaves);
            }
        }
        leaf => {
            leaves.insert(key, leaf);
        }
    }
}

fn is_inside(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// The variable that sets a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', SEPARATOR))
}

fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    // What names a section is nearest to what is in it.
    known.min_by_key(|known| (!known.starts_with(name), strsim::damerau_levenshtein(name, known))).unwrap_or_default()
}

/// Reads a text as what the setting is; a setting that may be left out is text, and empty where it is.
fn read(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Number(_) => {
            let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let number = digits.and_then(|digits| digits.parse::<u64>().ok());
            number.map(Value::from).ok_or_else(|| kind(default).into())
        }
        Value::Bool(_) => text.parse::<bool>().map(Value::from).map_err(|_| kind(default).into()),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let list = toml::from_str::<BTreeMap<String, Vec<String>>>(&format!("list = {text}"));
            list.ok().and_then(|mut list| list.remove("list")).map(Value::from).ok_or_else(|| kind(default).into())
        }
        Value::Array(_) => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        Value::Null if text.is_empty() => Ok(Value::Null),
        Value::Null | Value::String(_) | Value::Object(_) => Ok(text.into()),
    }
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::Number(_) => "it must be a whole number, 0 or above",
        Value::Bool(_) => "it must be true or false",
        Value::Array(_) => "it must be a list of texts: [\"one\", \"two\"], or one,two in a variable",
        Value::Null | Value::String(_) | Value::Object(_) => "it must be a text, in quotes in a file",
    }
}

/// A value as it may be printed.
fn shown(key: &str, value: &Value) -> String {
    match value {
        _ if key.ends_with("password") => "***".into(),
        Value::String(text) => format!("\"{}\"", address::masked(text)),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(key, item)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// What the reader of a type says, in words of a configuration.
fn in_words(reason: &str) -> String {
    let most = [("u8", u64::from(u8::MAX)), ("u16", u64::from(u16::MAX)), ("u32", u64::from(u32::MAX))]
        .into_iter()
        .chain([("i32", i32::MAX.unsigned_abs().into()), ("i64", i64::MAX.unsigned_abs())])
        .find(|(name, _)| reason.ends_with(&format!("expected {name}")));
    match most {
        Some((_, most)) => format!("it must be a whole number up to {most}"),
        None => reason.to_owned(),
    }
}

fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    // Never what stands behind it: that may be a password.
    let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim().to_owned());
    ConfigError::Toml { path: path.into(), line, key, reason: error.message().to_owned() }
}
