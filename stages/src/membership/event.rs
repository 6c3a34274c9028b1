//! What a message says about the members of its group.

use schemas::ids::{ConversationId, UserId};
use schemas::kind;
use schemas::records::{GroupEvent, Sequenced};

use super::Change;

/// A message, seen by who keeps memberships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Not an event that changes a group.
    Message,
    /// It tells of a change of its group.
    Event {
        /// The group's version after it.
        version: i64,
        /// Whom it is about: they get it, whether they are members before, after, or neither.
        about: Vec<UserId>,
        change: MemberChange,
    },
    /// It tells of a change that this version of the code cannot read. The group is loaded anew,
    /// which has the change in it.
    Unreadable,
}

/// What a change of a group does to its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// They become members.
    Enter(Vec<UserId>),
    /// They are members no more.
    Leave(Vec<UserId>),
    /// Everybody leaves: the group ended.
    Everybody,
    /// Nothing: the name, or a role.
    Nobody,
}

impl MemberChange {
    fn of(rule: kind::MemberChange, event: &GroupEvent) -> Self {
        match rule {
            kind::MemberChange::Join => Self::Enter(event.user_ids.clone()),
            kind::MemberChange::Create => Self::Enter([&event.user_ids[..], &[event.actor_id]].concat()),
            kind::MemberChange::Leave => Self::Leave(event.user_ids.clone()),
            kind::MemberChange::Dissolve => Self::Everybody,
            kind::MemberChange::Nothing => Self::Nobody,
        }
    }
}

impl Passing {
    pub(crate) fn of(message: &Sequenced) -> Self {
        let Some(rule) = message.kind.rules().members else { return Self::Message };
        match serde_json::from_str::<GroupEvent>(&message.content) {
            Ok(event) if message.conversation_id == ConversationId::Group(event.group_id) => {
                Self::Event { version: event.version, change: MemberChange::of(rule, &event), about: event.user_ids }
            }
            Ok(_) | Err(_) => Self::Unreadable,
        }
    }

    /// What it says of the group's version.
    pub(crate) fn change(&self) -> Change {
        match self {
            Self::Message => Change::None,
            Self::Event { version, .. } => Change::To(*version),
            Self::Unreadable => Change::Unreadable,
        }
    }
}
