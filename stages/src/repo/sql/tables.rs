//! The statements: what each dialect answers in its own words, on a connection with or without an open
//! transaction. What they add up to is written once, beside this module.
//!
//! A `lock_…` holds its row until the transaction ends. Locks are taken in one order, so that writers
//! wait for each other but never in a circle: a user; or a group, then conversations by the bytes of
//! their id, then everything in a conversation. (SQLite has one writer at a time: there these only read.)

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};

use super::Fault;
use super::rows::RaisedRow;
use crate::repo::digest::{Digest, Row};
use crate::repo::model::{
    Act, ConversationsAfter, Credentials, Group, Member, Membership, Message, NewGroup, NewToken, OutboxRow, ReadMark,
    Role, SignIn, TokenHash, User, UserPatch,
};

/// All statements of a dialect.
pub trait Tables:
    Users + Tokens + Groups + Members + Conversations + Messages + Outbox + Batches + LogIdentity
{
}

impl<T: Users + Tokens + Groups + Members + Conversations + Messages + Outbox + Batches + LogIdentity> Tables for T {}

#[async_trait]
pub trait Users: Send {
    /// Whether it was inserted; not when the name, the email address or the id is taken.
    async fn insert_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<bool, Fault>;
    /// Whether somebody has this email address, whatever the case of its letters.
    async fn has_email(&mut self, email: &str) -> Result<bool, Fault>;
    async fn user(&mut self, id: UserId) -> Result<Option<User>, Fault>;
    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>, Fault>;
    async fn credentials(&mut self, username: &str) -> Result<Option<Credentials>, Fault>;
    async fn patch_user(&mut self, id: UserId, patch: &UserPatch) -> Result<(), Fault>;
    /// The largest id below this one, of a user or a group: both come from the same maker. 0: none.
    async fn newest_id(&mut self, below: i64) -> Result<i64, Fault>;
}

/// A refresh token as it is kept.
#[derive(Debug, Clone, Copy)]
pub struct KeptToken {
    pub family: i64,
    pub used: bool,
    pub expires_at: i64,
}

#[async_trait]
pub trait Tokens: Send {
    async fn token_owner(&mut self, token: TokenHash) -> Result<Option<UserId>, Fault>;
    async fn token(&mut self, token: TokenHash) -> Result<Option<KeptToken>, Fault>;
    async fn insert_token(&mut self, user: UserId, family: i64, token: NewToken) -> Result<(), Fault>;
    async fn use_token(&mut self, token: TokenHash) -> Result<(), Fault>;
    async fn delete_family(&mut self, user: UserId, family: i64) -> Result<(), Fault>;
    async fn delete_expired_tokens(&mut self, user: UserId, now: i64) -> Result<(), Fault>;
    /// A sign-in goes on while the newest token of its family is good.
    async fn sign_in(&mut self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, Fault>;
}

/// Groups, and what changes with their members.
#[async_trait]
pub trait Groups: Send {
    async fn group(&mut self, id: GroupId) -> Result<Option<Group>, Fault>;
    async fn lock_group(&mut self, id: GroupId) -> Result<Option<Group>, Fault>;
    async fn lock_conversation(&mut self, id: ConversationId) -> Result<(), Fault>;
    /// A group without members at version 0, and its conversation. Whether they were inserted; not when
    /// there is a group of that id.
    async fn insert_group(&mut self, new: &NewGroup, act: &Act) -> Result<bool, Fault>;
    /// One of these users who is not there.
    async fn missing_user(&mut self, users: &[UserId]) -> Result<Option<UserId>, Fault>;
    async fn role_of(&mut self, group: GroupId, user: UserId) -> Result<Option<Role>, Fault>;
    /// Those of these users who are members.
    async fn members_of_these(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<UserId>, Fault>;
    /// Who joins reads from what comes next.
    async fn insert_members(&mut self, group: GroupId, users: &[UserId], role: Role, at: i64) -> Result<(), Fault>;
    async fn delete_member(&mut self, group: GroupId, user: UserId) -> Result<(), Fault>;
    async fn rename_group(&mut self, id: GroupId, name: Option<&str>, description: Option<&str>) -> Result<(), Fault>;
    async fn set_role(&mut self, group: GroupId, user: UserId, role: Role) -> Result<(), Fault>;
    async fn set_owner(&mut self, group: GroupId, user: UserId) -> Result<(), Fault>;
    async fn dissolve_group(&mut self, id: GroupId) -> Result<(), Fault>;
    /// Raises the version and counts the members again; more than `small_max` make it large for good.
    async fn raise_version(&mut self, id: GroupId, small_max: i32) -> Result<(), Fault>;
}

/// Reading who is in a group.
#[async_trait]
pub trait Members: Send {
    async fn members(&mut self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, Fault>;
    async fn members_among(&mut self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, Fault>;
    /// Version and members of the same instant.
    async fn membership(&mut self, group: GroupId) -> Result<Option<Membership>, Fault>;
}

/// conversation_id, last_seq, read_seq, unread, newest_seq (0: none that the user may see), updated_at.
pub type ListRow = (String, i64, i64, i64, i64, i64);

/// A user's conversations.
#[async_trait]
pub trait Conversations: Send {
    /// Newest first, `world` always among them. Unread is counted from the later of the read mark and
    /// the own newest, and never from before the user joined.
    async fn list(
        &mut self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ListRow>, Fault>;
    async fn heads(&mut self, user: UserId, since: i64, limit: usize) -> Result<Vec<(String, i64)>, Fault>;
    /// Of the users of a pair, or the members of a group that is not large, by user id; none of others.
    async fn read_marks(&mut self, conversation: ConversationId) -> Result<Vec<ReadMark>, Fault>;
    async fn display_names(&mut self, users: &[i64]) -> Result<Vec<(i64, String)>, Fault>;
    async fn group_names(&mut self, groups: &[i64]) -> Result<Vec<(i64, String)>, Fault>;
    /// Whether the group is dissolved, the user's role in it, and the seq from which they read.
    async fn place_in_group(
        &mut self,
        group: GroupId,
        user: UserId,
    ) -> Result<Option<(bool, Option<String>, i64)>, Fault>;
}

/// The rows of a page of a history.
#[derive(Debug, Clone, Copy)]
pub enum Slice {
    /// The newest below this seq, newest first.
    Below(Seq),
    /// The oldest above this seq, oldest first.
    Above(Seq),
}

/// Rows of a page, and the newest seq of the conversation in the same instant.
#[derive(Debug)]
pub struct Sliced {
    pub messages: Vec<Message>,
    /// `None` when there are no rows that could have brought it.
    pub last_seq: Option<Seq>,
}

/// Messages as they are now: what an edit said is withheld as soon as its target is recalled.
#[async_trait]
pub trait Messages: Send {
    /// Those that exist, in any order.
    async fn messages_by_id(&mut self, ids: &[i64]) -> Result<Vec<Message>, Fault>;
    /// Those that exist, in any order.
    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault>;
    async fn scan(&mut self, after: MessageId, limit: usize) -> Result<Vec<Message>, Fault>;
    /// Those with the largest ids, largest first.
    async fn newest(&mut self, limit: usize) -> Result<Vec<Message>, Fault>;
    /// The newest seq of a conversation; 0: none.
    async fn head(&mut self, conversation: ConversationId) -> Result<Seq, Fault>;
    /// At most `limit` rows from `first` on.
    async fn slice(
        &mut self,
        conversation: ConversationId,
        first: Seq,
        slice: Slice,
        limit: usize,
    ) -> Result<Sliced, Fault>;
}

/// Group events that wait to be put on the chain.
#[async_trait]
pub trait Outbox: Send {
    async fn insert_event(
        &mut self,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        act: &Act,
    ) -> Result<(), Fault>;
    async fn oldest_events(&mut self, limit: usize) -> Result<Vec<OutboxRow>, Fault>;
    async fn delete_events(&mut self, ids: &[i64]) -> Result<(), Fault>;
}

/// The log that the store was filled from.
#[async_trait]
pub trait LogIdentity: Send {
    async fn log_id(&mut self) -> Result<Option<String>, Fault>;
    /// Unless there is one.
    async fn insert_log_id(&mut self, id: &str) -> Result<(), Fault>;
    /// Writes the row again whose number this is: with 1, if there is one; with 0, none, which a database that
    /// takes no changes refuses all the same.
    async fn touch_log_id(&mut self, singleton: i32) -> Result<(), Fault>;
}

/// A seq of a user in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct UserSeq<'a> {
    pub user: i64,
    pub conversation: &'a str,
    pub seq: i64,
}

/// The statements of a batch of messages, each over all of its rows. Rows come in the order in which
/// their locks are to be taken.
#[async_trait]
pub trait Batches: Send {
    /// Brings conversations forward, never back, and holds them until the end.
    async fn advance_conversations(&mut self, digest: &Digest<'_>) -> Result<(), Fault>;
    /// Inserts what is not there. `Some`: a message whose place or id is another's.
    async fn insert_messages(&mut self, digest: &Digest<'_>, rows: &[Row<'_>]) -> Result<Option<MessageId>, Fault>;
    /// The messages that hold this id or this place: id, conversation, seq.
    async fn holders(&mut self, id: MessageId, conversation: &str, seq: Seq) -> Result<Vec<(i64, String, i64)>, Fault>;
    /// An edit of this place, unless a newer one or a recall came before.
    async fn edit(&mut self, change: &Row<'_>, conversation: &str, target: Seq) -> Result<(), Fault>;
    /// A recall of this place, for good.
    async fn recall(&mut self, change: &Row<'_>, conversation: &str, target: Seq) -> Result<(), Fault>;
    /// Who has these conversations from now on, if they had not, and how far they spoke.
    async fn add_participants(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault>;
    /// How far members spoke; who has left does not get the conversation back by an old message.
    async fn raise_speakers(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault>;
    /// Read marks, forward only. Nobody has read what is not there: a mark beyond the last seq is taken
    /// for the last seq, one in a conversation without a message for none. Those that rose, as they are now.
    async fn raise_read_marks(&mut self, rows: &[UserSeq<'_>]) -> Result<Vec<RaisedRow>, Fault>;
}
