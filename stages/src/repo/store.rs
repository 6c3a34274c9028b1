//! The seam between the repo and the database that keeps it.
//!
//! Everything here is in the words of [`model`](super::model): no statement, no row and no dialect
//! shows. Each method is one transaction. There is a trait for each user of a store: the chain, the
//! outbox relay, the services, tools and health checks. A [`Store`] is all of them, and every one passes
//! the one contract suite in `tests/repo/contract`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemas::causes::causes;
use schemas::error::Refusal;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::Sequenced;

use super::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Extent, Group, GroupChange, HistoryPage, HistoryRange,
    Member, Membership, Message, NewGroup, NewToken, OpenSignIn, OutboxRow, RaisedMark, ReadMark, Rotation, SignIn,
    Standing, TokenHash, User, UserPatch,
};

/// What to do about a [`StoreError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later. Nothing happened, or, when the answer to a commit was lost, all of it.
    Retry,
    /// It would fail again: an operator has to act.
    Fatal,
    /// A rule forbids it. The refusal goes to the client.
    Refused(Refusal),
}

/// What can go wrong with a store. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request breaks a rule that only the store can judge.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The database does not answer now.
    #[error(
        "{store} could not {doing} now: {}. Is it running and reached from here, its disk not full, and nothing else holding its locks?",
        causes(.source.as_ref())
    )]
    Unavailable {
        store: String,
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refuses what must be right.
    #[error(
        "{store} failed to {doing}: {}. It would fail again: check its address, its user's rights and its tables; restore it from a backup if it is damaged",
        causes(.source.as_ref())
    )]
    Failed {
        store: String,
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A message id or position is taken by another message.
    #[error(
        "{conversation} seq {seq} is to be message {given}, but {stored} holds that place or id already: sequences were restarted. Do not go on; compare the topic sequenced-messages with the store"
    )]
    IdentityTaken { conversation: ConversationId, seq: Seq, given: MessageId, stored: String },
    /// A record that no id-assign stage writes.
    #[error("a record of {conversation} has seq {seq} and message id {message}, both must be positive")]
    NoIdentity { conversation: ConversationId, seq: Seq, message: MessageId },
    /// What was stored cannot be read back.
    #[error("{store} holds {what}, which is not valid: it was changed by hand, or by a newer version")]
    Unreadable { store: String, what: String },
    /// The same read of another caller, whose answer this one waited for, failed.
    #[error(transparent)]
    Shared(#[from] Arc<StoreError>),
}

impl StoreError {
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(refusal) => Class::Refused(refusal.clone()),
            Self::Unavailable { .. } => Class::Retry,
            Self::Failed { .. } | Self::IdentityTaken { .. } | Self::NoIdentity { .. } | Self::Unreadable { .. } => {
                Class::Fatal
            }
            Self::Shared(error) => error.class(),
        }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Takes messages: all that the chain asks of a store.
#[async_trait]
pub trait MessageSink: Send + Sync + 'static {
    /// Writes a batch of the kinds that are stored: rows, the changes that edits and recalls make to
    /// their targets, conversations, who has them, and read marks; all of it or nothing. A repeat
    /// changes nothing. Answers with the read marks that it raised, each as it is now.
    ///
    /// # Errors
    /// [`StoreError::IdentityTaken`] when a row is there with another message id.
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError>;
}

/// Group events on their way to the chain: all that the outbox relay asks of a store.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// The oldest group events that were not published yet.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// Removes group events that were published.
    async fn outbox_published(&self, ids: &[i64]) -> Result<(), StoreError>;
}

/// Messages and conversations, as the services read them.
#[async_trait]
pub trait Conversations: Send + Sync + 'static {
    /// The messages of these ids that exist, in the order asked for.
    async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError>;

    /// The message at a place.
    async fn message_at(&self, conversation: ConversationId, seq: Seq) -> Result<Option<Message>, StoreError>;

    /// A page of a history from `first` on. A conversation nobody wrote in has an empty one.
    async fn history(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<HistoryPage, StoreError>;

    /// From where to where a conversation goes. From the primary, and no older than any batch that was
    /// written before: cached messages are compared with it.
    async fn extent(&self, conversation: ConversationId) -> Result<Extent, StoreError>;

    /// A user's conversations, newest first, `world` always among them.
    async fn conversations(
        &self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ConversationView>, StoreError>;

    /// The newest seq of each of a user's conversations that changed at `since` (ms since 1970 UTC)
    /// or later, newest first.
    async fn heads(&self, user: UserId, since: i64, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError>;

    /// What a user may do in a conversation. `None`: there is none.
    async fn standing(&self, conversation: ConversationId, user: UserId) -> Result<Option<Standing>, StoreError>;

    /// Up to where the users of a pair, or the members of a group that is not large, have marked a
    /// conversation as read, by user id. Empty for large groups and `world`.
    async fn read_marks(&self, conversation: ConversationId) -> Result<Vec<ReadMark>, StoreError>;
}

/// Users and their sign-ins.
#[async_trait]
pub trait Users: Send + Sync + 'static {
    /// The largest id of a user or group that is below this one, from the primary; 0: there is none. What
    /// makes such ids goes on from there.
    async fn newest_id(&self, below: i64) -> Result<i64, StoreError>;

    /// Keeps a new user.
    ///
    /// # Errors
    /// `UserExists` when the name or the email address is taken, whatever the case of its letters; the sentence
    /// says which.
    async fn create_user(&self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError>;

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// Those of these users that exist, in any order.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError>;

    /// The user of that name, with what their password is checked against.
    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, StoreError>;

    /// Changes a user. `None`: there is none.
    async fn update_user(&self, id: UserId, patch: &UserPatch) -> Result<Option<User>, StoreError>;

    /// Keeps the first refresh token of a sign-in, and drops what of the user's has expired.
    async fn start_family(&self, user: UserId, family: i64, token: NewToken, now: i64) -> Result<(), StoreError>;

    /// Uses a refresh token up and keeps the next in its place.
    async fn rotate_token(&self, used: TokenHash, next: NewToken, now: i64) -> Result<Rotation, StoreError>;

    /// Ends a sign-in of a user: no token of it is known any more. Nothing when it is over already.
    async fn revoke_family(&self, user: UserId, family: i64) -> Result<(), StoreError>;

    /// Ends all sign-ins of a user but `keep`; with a password hash that becomes the user's, in the same transaction.
    /// Whether there is such a user.
    async fn end_sign_ins(
        &self,
        user: UserId,
        keep: Option<i64>,
        password_hash: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// A user's sign-ins that go on, from the primary, the one that was used last first.
    async fn open_sign_ins(&self, user: UserId, now: i64, limit: usize) -> Result<Vec<OpenSignIn>, StoreError>;

    /// The state of a sign-in, from the primary, so that a new one is known at once. `None`: there is no such user.
    async fn sign_in(&self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, StoreError>;
}

/// Groups and their members.
#[async_trait]
pub trait Groups: Send + Sync + 'static {
    /// Makes a group of the actor, who owns it, and its event. When the actor's group of that id is there
    /// already it is answered as it is, without an event.
    ///
    /// # Errors
    /// `UserNotFound`, `GroupFull`; `PermissionDenied` when the id is that of somebody else's group.
    async fn create_group(&self, group: &NewGroup, act: &Act) -> Result<Group, StoreError>;

    /// Changes a group, raises its version and writes the event, if the actor may. What would change
    /// nothing succeeds without an event.
    ///
    /// # Errors
    /// `ConversationNotFound`, `PermissionDenied`, `UserNotFound`, `GroupFull`, `InvalidInput`.
    async fn change_group(&self, group: GroupId, change: &GroupChange, act: &Act) -> Result<Group, StoreError>;

    /// A group, from the primary: cached members are compared with its version.
    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError>;

    /// Members by user id, those above `after`.
    async fn members(&self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, StoreError>;

    /// Those of these users that are members, by user id.
    async fn members_among(&self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, StoreError>;

    /// All members of a group, from the primary. `None`: there is no such group.
    async fn membership(&self, group: GroupId) -> Result<Option<Membership>, StoreError>;
}

/// The calls of [`Users`], for a macro that makes a store of them: each with what it does in words.
macro_rules! users_calls {
    ($make:ident) => {
        $make! {
            Users
            reads {
                newest_id(below: i64) -> i64 = "read the newest id";
                sign_in(user: UserId, family: i64, now: i64) -> Option<SignIn> = "read a sign-in";
                user(id: UserId) -> Option<User> = "read a user";
                users(ids: &[UserId]) -> Vec<User> = "read users";
                credentials(username: &str) -> Option<Credentials> = "read a user";
                open_sign_ins(user: UserId, now: i64, limit: usize) -> Vec<OpenSignIn> = "list sign-ins";
            }
            writes {
                create_user(user: &User, password_hash: Option<&str>) -> () = "create a user";
                update_user(id: UserId, patch: &UserPatch) -> Option<User> = "update a user";
                start_family(user: UserId, family: i64, token: NewToken, now: i64) -> () = "keep a refresh token";
                rotate_token(used: TokenHash, next: NewToken, now: i64) -> Rotation = "rotate a refresh token";
                revoke_family(user: UserId, family: i64) -> () = "end a sign-in";
                end_sign_ins(user: UserId, keep: Option<i64>, password_hash: Option<&str>) -> bool = "end sign-ins";
            }
        }
    };
}
pub(super) use users_calls;

/// The same of [`Groups`].
macro_rules! groups_calls {
    ($make:ident) => {
        $make! {
            Groups
            reads {
                group(id: GroupId) -> Option<Group> = "read a group";
                members(group: GroupId, after: UserId, limit: usize) -> Vec<Member> = "list members";
                members_among(group: GroupId, users: &[UserId]) -> Vec<Member> = "list members";
                membership(group: GroupId) -> Option<Membership> = "read a membership";
            }
            writes {
                create_group(group: &NewGroup, act: &Act) -> Group = "create a group";
                change_group(group: GroupId, change: &GroupChange, act: &Act) -> Group = "change a group";
            }
        }
    };
}
pub(super) use groups_calls;

/// Everything that was said, and in which log, as tools go through it.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Messages of all conversations by id, those above `after`: how an auditor reads everything.
    async fn scan(&self, after: MessageId, limit: usize) -> Result<Vec<Message>, StoreError>;

    /// The messages with the largest ids, largest first.
    async fn newest(&self, limit: usize) -> Result<Vec<Message>, StoreError>;

    /// The id of the log that the store was filled from, if it was recorded.
    async fn log_id(&self) -> Result<Option<String>, StoreError>;

    /// Records the id of the log that the store is filled from, unless one is recorded.
    async fn set_log_id(&self, id: &str) -> Result<(), StoreError>;

    /// Closes all connections once calls under way are done.
    async fn close(&self);
}

/// Removes messages for good: all that the [retention](super::retention) asks of a store.
#[async_trait]
pub trait Retention: Send + Sync + 'static {
    /// Takes the lease of removing until then (ms since 1970 UTC), or extends it; not while another holder has it.
    /// One that ends later than that is no lease: a clock was ahead.
    async fn lease_retention(&self, holder: i64, now: i64, until: i64) -> Result<bool, StoreError>;

    /// The places of messages by id, of those below this one.
    async fn oldest(&self, below: MessageId, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError>;

    /// Conversations in a fixed order, those behind `after`.
    async fn extents(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Extent)>, StoreError>;

    /// Removes the messages at these places, which are the first of their conversations, and tells how many
    /// were there. What edits and reactions say of them is blanked; the sequence goes on as if they were there,
    /// and a repeat does not bring them back.
    async fn retire(&self, places: &[(ConversationId, Seq)]) -> Result<u64, StoreError>;
}

/// Whether a store works, as health checks ask.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Whether the store can be read and written now, with the true cause when it can't. After a failed call
    /// the probe commits a change; otherwise it updates no row.
    async fn probe(&self) -> Result<(), StoreError>;

    /// The errors of the replicas that do not answer.
    async fn probe_replicas(&self) -> Vec<StoreError>;
}

/// What the services ask of a store.
pub trait ServiceStore: Conversations + Users + Groups {}

impl<T: Conversations + Users + Groups> ServiceStore for T {}

/// A store that is being opened. Without its type, so that all that it does is compiled in this crate, once, and not
/// again in each crate that opens one.
pub type Opening<'a> = BoxFuture<'a, Result<Arc<dyn Store>, StoreError>>;

/// Keeps users, groups, conversations and messages.
pub trait Store: MessageSink + Outbox + ServiceStore + Archive + Retention + Probe {}

impl<T: MessageSink + Outbox + ServiceStore + Archive + Retention + Probe> Store for T {}
