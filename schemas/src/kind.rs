//! The kinds of events that happen in a conversation, and the one table of rules about them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a kind of event asks of the chain, and what it does.
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
    /// The `event` of a client's `message` frame.
    pub class: EventClass,
    /// What it does to a group's members. `None`: it is no event of a group.
    pub members: Option<MemberChange>,
}

/// The `event` of a client's `message` frame.
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
    /// A notice of the system: members came, went, a group changed.
    System,
}

impl EventClass {
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

/// What an event does to the members of its group. Its content is a [`GroupEvent`](crate::records::GroupEvent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// `user_ids` become members.
    Join,
    /// `user_ids` and `actor_id` become the first members.
    Create,
    /// `user_ids` are members no more.
    Leave,
    /// Nobody is a member any more.
    Dissolve,
    /// The members stay the same.
    Nothing,
}

/// Something a user says.
const MESSAGE: Rules = Rules {
    sequenced: true,
    counts_unread: true,
    stored: true,
    broadcast: true,
    signal_only: false,
    class: EventClass::Message,
    members: None,
};
/// A notice with a place in the history.
const NOTICE: Rules = Rules { counts_unread: false, class: EventClass::System, ..MESSAGE };
/// Idempotent: passes the chain without a seq.
const MARK: Rules = Rules { sequenced: false, ..NOTICE };
const SIGNAL: Rules = Rules { stored: false, signal_only: true, ..MARK };

const fn said(class: EventClass) -> Rules {
    Rules { class, ..NOTICE }
}

const fn group(members: MemberChange) -> Rules {
    Rules { members: Some(members), ..NOTICE }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $rules:expr;)*) => {
        /// A kind of event. Its name is what travels. A name that this version does not know is kept, and is
        /// a message that does not count as unread.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
            /// Of a newer version.
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
                    Kind::Unknown(_) => const { said(EventClass::Message) },
                }
            }
        }
    };
}

kinds! {
    Text = "text": MESSAGE;
    /// A picture: its address and caption.
    Image = "image": MESSAGE;
    /// A file: its address and name.
    File = "file": MESSAGE;
    /// A notice of the system itself.
    System = "system": NOTICE;
    /// New content of an earlier message.
    Edit = "edit": said(EventClass::Edit);
    /// An earlier message is withdrawn, its content blanked.
    Recall = "recall": said(EventClass::Recall);
    /// An emoji put to, or taken from, an earlier message.
    Reaction = "reaction": said(EventClass::Reaction);
    Joined = "joined": group(MemberChange::Join);
    Left = "left": group(MemberChange::Leave);
    /// A member was removed by another.
    Removed = "removed": group(MemberChange::Leave);
    GroupCreated = "group-created": group(MemberChange::Create);
    /// A group has another name or description, or a member another role.
    Renamed = "renamed": group(MemberChange::Nothing);
    Dissolved = "dissolved": group(MemberChange::Dissolve);
    /// A user has read up to a seq.
    ReadMark = "read-mark": MARK;
    Typing = "typing": SIGNAL;
    Online = "online": SIGNAL;
    Offline = "offline": SIGNAL;
}

impl Kind {
    pub fn class(&self) -> EventClass {
        self.rules().class
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
