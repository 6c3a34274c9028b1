//! What a message says about the members of its group.

use schemas::ids::{ConversationId, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupEvent, Sequenced};

use super::Change;

/// A message, seen by who keeps memberships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Passing {
    /// It changes no group.
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

impl Passing {
    pub(crate) fn of(message: &Sequenced) -> Self {
        let change: fn(&GroupEvent) -> MemberChange = match &message.kind {
            Kind::Joined => |event| MemberChange::Enter(event.user_ids.clone()),
            Kind::GroupCreated => |event| MemberChange::Enter([&event.user_ids[..], &[event.actor_id]].concat()),
            Kind::Left | Kind::Removed => |event| MemberChange::Leave(event.user_ids.clone()),
            Kind::Dissolved => |_| MemberChange::Everybody,
            Kind::Renamed => |_| MemberChange::Nobody,
            Kind::Text
            | Kind::Image
            | Kind::File
            | Kind::System
            | Kind::Edit
            | Kind::Recall
            | Kind::Reaction
            | Kind::ReadMark
            | Kind::Typing
            | Kind::Online
            | Kind::Offline
            | Kind::Unknown(_) => return Self::Message,
        };
        match serde_json::from_str::<GroupEvent>(&message.content) {
            Ok(event) if message.conversation_id == ConversationId::Group(event.group_id) => {
                Self::Event { version: event.version, change: change(&event), about: event.user_ids }
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
