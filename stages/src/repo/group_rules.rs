//! Who may change what in a group: pure, the same for every store.
//!
//! The owner may do everything. An admin may rename the group, and add and remove members. A member may add
//! members and leave.

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::kind::Kind;

use super::model::{Group, GroupChange, Role};

/// What decides whether a change is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub group: &'a Group,
    pub actor: UserId,
    /// `None`: not a member.
    pub actor_role: Option<Role>,
    /// The role of the member to be changed; `None`: not a member, or the change concerns no single member.
    pub target_role: Option<Role>,
}

/// Checks whether the actor may make a change.
///
/// # Errors
/// `ConversationNotFound`, `PermissionDenied`, `UserNotFound` or `InvalidInput`.
pub fn judge(change: &GroupChange, situation: Situation<'_>) -> Result<(), Refusal> {
    let Situation { group, actor, actor_role, target_role } = situation;
    // Who is no member learns nothing of the group, not even that it is there.
    let Some(role) = actor_role else { return Err(no_conversation()) };
    if group.dissolved {
        return Err(Refusal::new(ErrorCode::ConversationNotFound, format!("group {} was dissolved", group.id)));
    }
    match change {
        GroupChange::Add { .. } => Ok(()),
        GroupChange::Rename { .. } => match role {
            Role::Owner | Role::Admin => Ok(()),
            Role::Member => Err(denied("only the owner or an admin may change the group")),
        },
        GroupChange::Remove { user_id } if *user_id == actor => match role {
            Role::Owner => Err(denied("the owner can't leave: hand the group over first, or dissolve it")),
            Role::Admin | Role::Member => Ok(()),
        },
        GroupChange::Remove { .. } => match (role, target_role) {
            (Role::Owner, Some(_)) | (Role::Admin, Some(Role::Member)) => Ok(()),
            (Role::Owner | Role::Admin, None) => Err(not_member()),
            (Role::Admin, Some(Role::Owner | Role::Admin)) => Err(denied("only the owner may remove an admin")),
            (Role::Member, _) => Err(denied("only the owner or an admin may remove members")),
        },
        GroupChange::SetRole { user_id, .. } => match (role, target_role) {
            (Role::Admin | Role::Member, _) => Err(denied("only the owner may give roles")),
            (Role::Owner, None) => Err(not_member()),
            (Role::Owner, Some(_)) if *user_id == actor => {
                Err(Refusal::invalid("the owner's role changes by making another member the owner"))
            }
            (Role::Owner, Some(_)) => Ok(()),
        },
        GroupChange::Dissolve => match role {
            Role::Owner => Ok(()),
            Role::Admin | Role::Member => Err(denied("only the owner may dissolve the group")),
        },
    }
}

/// Refuses a number of members above the group's maximum.
///
/// # Errors
/// `GroupFull`.
pub fn check_room(members: usize, max_members: i32) -> Result<(), Refusal> {
    if usize::try_from(max_members).is_ok_and(|max| members <= max) {
        return Ok(());
    }
    let message = format!("the group would have {members} members; at most {max_members} are taken, nobody was added");
    Err(Refusal::new(ErrorCode::GroupFull, message))
}

/// What to answer when a group is made whose id is taken: the group, to its owner, whose first call was
/// carried out though its answer may have been lost.
///
/// # Errors
/// `PermissionDenied`.
pub fn made_before(group: Group, actor: UserId) -> Result<Group, Refusal> {
    if group.owner_id == actor { Ok(group) } else { Err(denied("there is another group of that id")) }
}

/// The kind of the event that tells of a change.
pub fn event_kind(change: &GroupChange, actor: UserId) -> Kind {
    match change {
        GroupChange::Rename { .. } | GroupChange::SetRole { .. } => Kind::Renamed,
        GroupChange::Add { .. } => Kind::Joined,
        GroupChange::Remove { user_id } if *user_id == actor => Kind::Left,
        GroupChange::Remove { .. } => Kind::Removed,
        GroupChange::Dissolve => Kind::Dissolved,
    }
}

/// The same answer whether a conversation does not exist or the user may not read it.
pub fn no_conversation() -> Refusal {
    Refusal::new(ErrorCode::ConversationNotFound, "there is no such conversation")
}

pub fn no_user(id: UserId) -> Refusal {
    Refusal::new(ErrorCode::UserNotFound, format!("there is no user {id}"))
}

fn denied(message: &str) -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, message)
}

fn not_member() -> Refusal {
    Refusal::new(ErrorCode::UserNotFound, "that user is not a member of this group")
}
