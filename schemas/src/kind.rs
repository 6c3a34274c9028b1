//! The kinds of events that happen in a conversation, and the one table of rules about them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a kind of event asks of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Gets a message id and the next seq of its conversation.
    pub sequenced: bool,
    /// Raises the ordinal of the conversation: members see it as unread.
    pub counts_unread: bool,
    /// Has a row in the history.
    pub stored: bool,
    /// Goes to every member who is online.
    pub broadcast: bool,
    /// Never enters the log; lives on the signal channel only.
    pub signal_only: bool,
}

const fn rules(sequenced: bool, counts_unread: bool, stored: bool, broadcast: bool, signal_only: bool) -> Rules {
    Rules { sequenced, counts_unread, stored, broadcast, signal_only }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $rules:expr;)*) => {
        /// A kind of event. Its name is what travels; a name this version does not know is kept as
        /// it is and treated as a message that nobody counts as unread.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
            /// A kind of a newer version.
            Unknown(Box<str>),
        }

        impl Kind {
            /// Every kind that this version knows.
            pub const KNOWN: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name that travels.
            pub fn name(&self) -> &str {
                match self {
                    $(Kind::$variant => $name,)*
                    Kind::Unknown(name) => name,
                }
            }

            /// The kind of that name.
            pub fn named(name: &str) -> Kind {
                match name {
                    $($name => Kind::$variant,)*
                    other => Kind::Unknown(other.into()),
                }
            }

            /// The table: what each kind asks of the chain.
            pub fn rules(&self) -> Rules {
                match self {
                    $(Kind::$variant => const { $rules },)*
                    Kind::Unknown(_) => const { rules(true, false, true, true, false) },
                }
            }
        }
    };
}

kinds! {
    //                               sequenced unread stored broadcast signal
    /// Text of a user.
    Text = "text":              rules(true, true, true, true, false);
    /// A picture: its address and caption.
    Image = "image":            rules(true, true, true, true, false);
    /// A file: its address and name.
    File = "file":              rules(true, true, true, true, false);
    /// A word of the system itself.
    System = "system":          rules(true, false, true, true, false);
    /// New content of an earlier message.
    Edit = "edit":              rules(true, false, true, true, false);
    /// An earlier message is withdrawn, its content blanked.
    Recall = "recall":          rules(true, false, true, true, false);
    /// An emoji put to, or taken from, an earlier message.
    Reaction = "reaction":      rules(true, false, true, true, false);
    /// Users became members of a group.
    Joined = "joined":          rules(true, false, true, true, false);
    /// A member left.
    Left = "left":              rules(true, false, true, true, false);
    /// A member was removed.
    Removed = "removed":        rules(true, false, true, true, false);
    /// A group began.
    GroupCreated = "group-created": rules(true, false, true, true, false);
    /// A group has another name or description, or a member another role.
    Renamed = "renamed":        rules(true, false, true, true, false);
    /// A group ended.
    Dissolved = "dissolved":    rules(true, false, true, true, false);
    /// A user has read up to a seq. Idempotent: it passes the chain without a seq.
    ReadMark = "read-mark":     rules(false, false, true, true, false);
    /// Somebody is typing.
    Typing = "typing":          rules(false, false, false, true, true);
    /// A user came online.
    Online = "online":          rules(false, false, false, true, true);
    /// A user went offline.
    Offline = "offline":        rules(false, false, false, true, true);
}

/// How a sequenced event is called on a client's `message` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventClass {
    /// Something a user said.
    Message,
    /// A change of something said.
    Edit,
    /// A withdrawal of something said.
    Recall,
    /// A reaction to something said.
    Reaction,
    /// A word of the system: members came, went, a group changed.
    System,
}

impl EventClass {
    /// The name in the `event` field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Edit => "edit",
            Self::Recall => "recall",
            Self::Reaction => "reaction",
            Self::System => "system",
        }
    }
}

impl Kind {
    /// How this kind is called on a client's `message` frame.
    pub fn class(&self) -> EventClass {
        match self {
            Kind::Text | Kind::Image | Kind::File | Kind::Unknown(_) => EventClass::Message,
            Kind::Edit => EventClass::Edit,
            Kind::Recall => EventClass::Recall,
            Kind::Reaction => EventClass::Reaction,
            Kind::System
            | Kind::Joined
            | Kind::Left
            | Kind::Removed
            | Kind::GroupCreated
            | Kind::Renamed
            | Kind::Dissolved
            | Kind::ReadMark
            | Kind::Typing
            | Kind::Online
            | Kind::Offline => EventClass::System,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl serde::de::Visitor<'_> for Name {
            type Value = Kind;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an event kind")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Kind, E> {
                Ok(Kind::named(name))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kind() {
        for kind in Kind::KNOWN {
            assert_eq!(&Kind::named(kind.name()), kind);
        }
        assert_eq!(Kind::named("poll"), Kind::Unknown("poll".into()));
        assert_eq!(Kind::named("poll").name(), "poll");
    }

    #[test]
    fn the_table_has_no_contradiction() {
        assert!(Kind::KNOWN.len() >= 16);
        for kind in Kind::KNOWN {
            let rules = kind.rules();
            assert!(!rules.counts_unread || rules.sequenced, "{kind}: only a sequenced kind can count as unread");
            assert!(!rules.sequenced || rules.stored, "{kind}: a seq without a row would be a gap in the history");
            assert!(!rules.signal_only || !rules.stored, "{kind}: a signal is never stored");
        }
    }
}
