//! Checks of settings. Each crate checks its own configuration, so that the bounds of a setting stand beside it.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A setting that is out of bounds, or does not fit another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}; it must be {allowed}")]
pub struct InvalidSetting {
    /// The key, with its sections: `gateway.limits.heartbeat_s`.
    pub key: String,
    /// Without secrets.
    pub value: String,
    /// The allowed values; names the other setting where that decides.
    pub allowed: String,
}

/// A section of the configuration, by its name: `gateway.limits`. The outermost has none.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a>(pub &'a str);

impl Section<'_> {
    /// The full key of one of its settings.
    pub fn key(self, key: &str) -> String {
        if self.0.is_empty() { key.to_owned() } else { format!("{}.{key}", self.0) }
    }

    /// That the value of a key can't be used, and what could.
    pub fn invalid(self, key: &str, value: impl Display, allowed: impl Into<String>) -> InvalidSetting {
        InvalidSetting { key: self.key(key), value: value.to_string(), allowed: allowed.into() }
    }

    /// Refuses a value outside of a range.
    ///
    /// # Errors
    /// [`InvalidSetting`], which names the range.
    pub fn within<T: PartialOrd + Display + Copy>(
        self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Result<(), InvalidSetting> {
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.invalid(key, value, format!("from {} to {}", range.start(), range.end())))
    }

    /// Refuses a value above another setting of the section.
    ///
    /// # Errors
    /// [`InvalidSetting`], which names both.
    pub fn at_most<T: PartialOrd + Display + Copy>(
        self,
        (key, value): (&str, T),
        (other, limit): (&str, T),
    ) -> Result<(), InvalidSetting> {
        if value <= limit {
            return Ok(());
        }
        Err(self.invalid(key, value, format!("at most {}, which is {limit}", self.key(other))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_setting_names_the_key_the_value_and_what_is_allowed() {
        let section = Section("gateway.limits");
        assert_eq!(section.within("heartbeat_s", 5, 1..=10), Ok(()));
        let zero = section.within("heartbeat_s", 0, 1..=10).unwrap_err();
        assert_eq!(zero.to_string(), "gateway.limits.heartbeat_s is 0; it must be from 1 to 10");
        let pair = section.at_most(("a_ms", 7), ("b_ms", 5)).unwrap_err();
        assert_eq!(pair.to_string(), "gateway.limits.a_ms is 7; it must be at most gateway.limits.b_ms, which is 5");
        assert_eq!(Section("").key("instance"), "instance");
    }
}
