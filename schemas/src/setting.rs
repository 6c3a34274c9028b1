//! The judgement of settings: which one can't be used, what it is, and what it may be.
//!
//! Each crate judges its own configuration, so that the bounds of a setting stand beside it. Whoever reads
//! the configuration adds where the value comes from.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// A setting that can't be used, by itself or beside another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}; it must be {allowed}")]
pub struct Misfit {
    /// The key, with its sections: `gateway.limits.heartbeat_s`.
    pub key: String,
    /// The value, without secrets.
    pub value: String,
    /// What it may be, with the other key where that decides.
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

    /// What is wrong with one of its settings.
    pub fn misfit(self, key: &str, value: impl Display, allowed: impl Into<String>) -> Misfit {
        Misfit { key: self.key(key), value: value.to_string(), allowed: allowed.into() }
    }

    /// Refuses a value that is not in its range.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn within<T: PartialOrd + Display + Copy>(
        self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Result<(), Misfit> {
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.misfit(key, value, format!("from {} to {}", range.start(), range.end())))
    }

    /// Refuses a value above that of another setting of the section.
    ///
    /// # Errors
    /// [`Misfit`], which names both.
    pub fn at_most<T: PartialOrd + Display + Copy>(
        self,
        (key, value): (&str, T),
        (other, limit): (&str, T),
    ) -> Result<(), Misfit> {
        if value <= limit {
            return Ok(());
        }
        Err(self.misfit(key, value, format!("at most {}, which is {limit}", self.key(other))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misfit_names_the_key_the_value_and_what_is_allowed() {
        let section = Section("gateway.limits");
        assert_eq!(section.within("heartbeat_s", 5, 1..=10), Ok(()));
        let zero = section.within("heartbeat_s", 0, 1..=10).unwrap_err();
        assert_eq!(zero.to_string(), "gateway.limits.heartbeat_s is 0; it must be from 1 to 10");
        let pair = section.at_most(("a_ms", 7), ("b_ms", 5)).unwrap_err();
        assert_eq!(pair.to_string(), "gateway.limits.a_ms is 7; it must be at most gateway.limits.b_ms, which is 5");
        assert_eq!(Section("").key("instance"), "instance");
    }
}
