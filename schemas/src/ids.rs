//! Ids, each a type of its own, so that a user id is never taken for a message id.
//!
//! In clients' JSON 64-bit ids are decimal strings (JavaScript loses precision past 2^53); on topics and in SQL they
//! are signed 64-bit integers. All ids are positive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts canonical positive decimal only: no sign, no leading zero.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_positive(text).map(Self).ok_or_else(|| InvalidId(shortened(text)))
            }
        }
    };
}

id! {
    /// A user; a Snowflake made by the repo.
    UserId
}
id! {
    /// A group; a Snowflake made by the repo.
    GroupId
}
id! {
    /// A message; a Snowflake made by the id-assign stage. 0 for kinds without a seq.
    MessageId
}
id! {
    /// Position of a message in its conversation: 1, 2, 3 … without a gap. 0 for kinds without a seq.
    Seq
}

/// serde of ids as decimal strings, for JSON: `#[serde(with = "decimal")]`, and `decimal::list`.
pub mod decimal {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }

    /// serde of lists of ids.
    pub mod list {
        use super::{Deserialize, Deserializer, Display, FromStr, Serializer, de};

        pub fn serialize<T: Display, S: Serializer>(ids: &[T], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(ids.iter().map(ToString::to_string))
        }

        pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<T>, D::Error> {
            let texts = Vec::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
        }
    }
}

/// Text that is not an identifier of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a valid id")]
pub struct InvalidId(pub String);

/// Bytes of the longest conversation id: `single_` and two 19-digit ids.
pub const CONVERSATION_ID_BYTES_MAX: usize = 7 + 19 + 1 + 19;

/// A conversation: of two users, of a group, or the one room that is open to all.
///
/// Its text form, `single_{low}_{high}`, `group_{id}` or `world`, is the key of every chain topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConversationId {
    /// Two users, the smaller id first. A user may also talk to themselves.
    Single {
        /// The smaller id.
        low: UserId,
        /// The larger id.
        high: UserId,
    },
    /// The members of a group.
    Group(GroupId),
    World,
}

impl ConversationId {
    /// The conversation of two users, in whichever order they are given.
    pub fn single(a: UserId, b: UserId) -> Self {
        Self::Single { low: a.min(b), high: a.max(b) }
    }

    /// The other user of a `single_` conversation that `user` is part of.
    pub fn peer_of(&self, user: UserId) -> Option<UserId> {
        match *self {
            Self::Single { low, high } if user == low => Some(high),
            Self::Single { low, high } if user == high => Some(low),
            Self::Single { .. } | Self::Group(_) | Self::World => None,
        }
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single { low, high } => write!(f, "single_{low}_{high}"),
            Self::Group(id) => write!(f, "group_{id}"),
            Self::World => f.write_str("world"),
        }
    }
}

impl FromStr for ConversationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_conversation(text).ok_or_else(|| InvalidId(shortened(text)))
    }
}

impl Serialize for ConversationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Written to the stack: this runs once a record a hop.
        let mut text = StackText { bytes: [0; CONVERSATION_ID_BYTES_MAX], len: 0 };
        fmt::Write::write_fmt(&mut text, format_args!("{self}")).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(text.as_str())
    }
}

impl<'de> Deserialize<'de> for ConversationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = ConversationId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a conversation id")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ConversationId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A short text formatted without an allocation.
struct StackText {
    bytes: [u8; CONVERSATION_ID_BYTES_MAX],
    len: usize,
}

impl StackText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("only whole strs are written")
    }
}

impl fmt::Write for StackText {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len + s.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn parse_conversation(text: &str) -> Option<ConversationId> {
    if let Some(pair) = text.strip_prefix("single_") {
        let (low, high) = pair.split_once('_')?;
        let (low, high) = (UserId(parse_positive(low)?), UserId(parse_positive(high)?));
        return (low <= high).then_some(ConversationId::Single { low, high });
    }
    if let Some(id) = text.strip_prefix("group_") {
        return Some(ConversationId::Group(GroupId(parse_positive(id)?)));
    }
    (text == "world").then_some(ConversationId::World)
}

fn parse_positive(text: &str) -> Option<i64> {
    let digits = text.as_bytes();
    let canonical = matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    if canonical { text.parse().ok() } else { None }
}

/// The start of a bad id, for an error: a client may send any length.
fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversation_ids_read_back_as_written() {
        let ids = [
            ConversationId::single(UserId(9), UserId(3)),
            ConversationId::single(UserId(i64::MAX), UserId(i64::MAX - 1)),
            ConversationId::Group(GroupId(1)),
            ConversationId::World,
        ];
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(serde_json::from_str::<ConversationId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        }
    }

    #[test]
    fn only_the_canonical_form_is_a_conversation() {
        let bad = [
            "",
            "single_",
            "single_1",
            "single_2_1",
            "single_01_2",
            "single_+1_2",
            "single_1_2_3",
            "group_0",
            "group_-1",
            "group_9223372036854775808",
            "worlds",
            "World",
            "group_1 ",
        ];
        for text in bad {
            assert!(text.parse::<ConversationId>().is_err(), "{text:?} was taken");
        }
    }
}
