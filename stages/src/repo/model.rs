//! What the repo keeps, in the words of the domain: no SQL and no protobuf.
//!
//! Times are ms since 1970 UTC.

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;

/// Members up to which a group is served one by one; above, and for good once above, in pages.
pub const SMALL_GROUP_MEMBERS_MAX: i32 = 500;

/// A type that is stored and sent as one of a few names.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// The name that is stored and sent.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

named! {
    /// Whether a user may act.
    UserStatus {
        Active = "active",
        /// May; was not here for long.
        Inactive = "inactive",
        /// May not sign in, nor say anything.
        Banned = "banned",
    }
}

named! {
    /// What a member may do in a group.
    Role {
        Owner = "owner",
        /// Change the group, add and remove members.
        Admin = "admin",
        /// Add members, and leave.
        Member = "member",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Unique whatever the case of its letters.
    pub username: String,
    pub display_name: String,
    pub avatar_url: String,
    pub email: String,
    pub status: UserStatus,
    pub created_at: i64,
}

/// A user and what their password is checked against.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: User,
    /// PHC string; `None`: cannot sign in.
    pub password_hash: Option<String>,
}

/// What to change of a user; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
    pub status: Option<UserStatus>,
}

/// SHA-256 of a refresh token.
pub type TokenHash = [u8; 32];

/// A refresh token to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewToken {
    pub hash: TokenHash,
    pub expires_at: i64,
}

/// What came of a refresh token that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It was good, is used up now, and the new one is kept in its place.
    Rotated {
        user: User,
        /// The sign-in that it descends from.
        family: i64,
    },
    /// It had been used before: the whole family is revoked.
    Reused,
    /// Nobody's, revoked or expired.
    Unknown,
    /// The user is banned: the whole family is revoked.
    Banned,
}

/// What is known of a sign-in whose user exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignIn {
    pub status: UserStatus,
    /// Whether it was not ended: a refresh token of it is good.
    pub goes_on: bool,
}

/// A sign-in that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSignIn {
    pub family: i64,
    /// When its newest refresh token expires, ms since 1970 UTC.
    pub expires_at: i64,
}

/// Up to where somebody has marked a conversation as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    pub user_id: UserId,
    /// Up to and with this one.
    pub seq_id: Seq,
}

/// A read mark that a batch of messages has raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedMark {
    pub conversation_id: ConversationId,
    pub mark: ReadMark,
}

/// A message as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub conversation_id: ConversationId,
    pub message_id: MessageId,
    pub seq_id: Seq,
    pub sender_id: UserId,
    pub kind: Kind,
    /// The newest; empty when it, or what it edits, was recalled.
    pub content: String,
    pub client_msg_id: String,
    pub created_at: i64,
    /// What an edit, recall or reaction is about.
    pub target_seq: Option<Seq>,
    /// Whether a reaction is withdrawn.
    pub remove: bool,
    pub edited_at: Option<i64>,
    pub recalled: bool,
}

/// Which part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    Newest,
    /// The newest of those below this seq.
    Before(Seq),
    /// The oldest of those above this seq.
    After(Seq),
}

/// What is there of a conversation: the messages with the seqs `[first, last]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// 1, or behind the messages that were removed.
    pub first: Seq,
    /// The newest that was stored, removed or not; 0: nobody wrote in it.
    pub last: Seq,
}

impl Extent {
    /// From what was removed, up to a seq (0: nothing was), and the newest seq.
    pub fn behind(retired: i64, last: i64) -> Self {
        Self { first: Seq(retired.saturating_add(1)), last: Seq(last) }
    }

    /// Whether a message was stored here and removed.
    pub fn lost(&self, seq: Seq) -> bool {
        seq < self.first
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    pub messages: Vec<Message>,
    /// More lie beyond, in the direction asked for.
    pub has_more: bool,
    /// The first seq that is there: 1, or behind the messages that were removed.
    pub first_seq: Seq,
    /// The newest seq stored; 0: none.
    pub last_seq: Seq,
}

/// A user's view of one of their conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationView {
    pub id: ConversationId,
    /// The other user's display name, the group's name, or "World".
    pub title: String,
    pub last_seq: Seq,
    /// Up to where the user marked it as read.
    pub read_seq: Seq,
    /// Messages that count as unread behind the later of the mark and the user's own newest.
    pub unread: i64,
    /// The newest message that stands for itself, if the user may see it.
    pub last_message: Option<Message>,
    pub updated_at: i64,
}

/// Where a page of conversations goes on: behind this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationsAfter {
    pub updated_at: i64,
    pub id: ConversationId,
}

/// What a user may do in a conversation that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The first seq that they may read; `None`: nothing.
    pub reads_from: Option<Seq>,
    pub may_speak: bool,
    pub role: Option<Role>,
    /// It is a large group, see [`Group::large`].
    pub large: bool,
    /// They are banned, and may do nothing anywhere.
    pub banned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
    pub description: String,
    pub owner_id: UserId,
    pub member_count: i32,
    pub max_members: i32,
    /// Raised by one with each change.
    pub version: i64,
    /// More than [`SMALL_GROUP_MEMBERS_MAX`] members, now or once.
    pub large: bool,
    /// It ended: only its history is left.
    pub dissolved: bool,
    pub created_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user_id: UserId,
    pub username: String,
    pub display_name: String,
    pub role: Role,
    pub joined_at: i64,
}

/// Everybody in a group, at a version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub group_id: GroupId,
    pub version: i64,
    /// As in [`Group`].
    pub large: bool,
    /// By user id.
    pub user_ids: Vec<UserId>,
}

/// A group to be made.
#[derive(Debug, Clone)]
pub struct NewGroup {
    pub id: GroupId,
    pub name: String,
    pub description: String,
    /// Beside the actor, who becomes the owner; each once.
    pub member_ids: Vec<UserId>,
    pub max_members: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// Another name or description; `None` stays as it is.
    Rename {
        name: Option<String>,
        description: Option<String>,
    },
    /// More members, each once. Who is one already is passed over.
    Add {
        user_ids: Vec<UserId>,
    },
    /// One member less; the actor: leaves.
    Remove {
        user_id: UserId,
    },
    /// Another role for a member. A new owner makes the old one an admin.
    SetRole {
        user_id: UserId,
        role: Role,
    },
    Dissolve,
}

/// Who changes a group, when, and the key of the event that tells of it.
#[derive(Debug, Clone)]
pub struct Act {
    /// The user whose rights decide.
    pub actor: UserId,
    pub at: i64,
    /// The clientMsgId of the event: fixed, so that publishing it twice is recognised, and not to be
    /// guessed, so that nobody can take it first.
    pub event_id: String,
}

/// A group event on its way to the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place: older ones have smaller ids.
    pub id: i64,
    pub conversation_id: ConversationId,
    pub actor: UserId,
    pub client_msg_id: String,
    pub kind: Kind,
    /// A [`schemas::records::GroupEvent`] as JSON.
    pub content: String,
    pub created_at: i64,
}
