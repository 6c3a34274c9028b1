//! Rows as they come from any of the databases, and what they mean.

use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;

use super::fault::Fault;
use crate::repo::model::{
    Credentials, Extent, Group, Member, Membership, Message, OutboxRow, RaisedMark, ReadMark, Role, SignIn, User,
    UserStatus,
};

/// The columns of message `m` in the order of [`MessageRow`], but for the first.
macro_rules! message_columns {
    () => {
        "m.message_id, m.seq_id, m.sender_id, m.kind, m.content, m.client_msg_id, m.created_at, m.target_seq, \
         m.remove, m.edited_at, m.recalled"
    };
}
pub(in crate::repo) use message_columns;

/// Selects a page of a conversation, whose id is this parameter and whose extent comes with each row.
macro_rules! select_slice {
    ($conversation:literal, $rest:literal) => {
        concat!(
            "SELECT coalesce((SELECT seq_id FROM retired WHERE conversation_id = ",
            $conversation,
            "), 0), coalesce((SELECT last_seq FROM conversations WHERE conversation_id = ",
            $conversation,
            "), 0), ",
            $crate::repo::sql::rows::message_columns!(),
            " FROM messages m WHERE m.conversation_id = ",
            $conversation,
            " AND m.seq_id >= ",
            $rest
        )
    };
}
pub(in crate::repo) use select_slice;

/// A column of the question's own; then message_id, seq_id, sender_id, kind, content, client_msg_id, created_at,
/// target_seq, remove, edited_at, recalled.
pub type MessageRow<C, B = bool> = (C, i64, i64, i64, String, String, String, i64, Option<i64>, B, Option<i64>, B);

/// Messages of any conversation: the first column is its id.
pub fn messages_of(rows: Vec<MessageRow<String>>) -> Result<Vec<Message>, Fault> {
    rows.into_iter().map(|row| Ok(message_of(parsed(&row.0)?, row))).collect()
}

/// Rows of a page, and the extent of the conversation in the same instant.
#[derive(Debug)]
pub struct Sliced {
    pub messages: Vec<Message>,
    /// `None` when there are no rows that could have brought it.
    pub extent: Option<Extent>,
}

/// Up to which seq messages of the conversation were removed, its newest seq, then as [`MessageRow`].
pub type SliceRow = (i64, i64, i64, i64, i64, String, String, String, i64, Option<i64>, bool, Option<i64>, bool);

/// Messages of one conversation.
pub fn sliced_of(conversation: ConversationId, rows: Vec<SliceRow>) -> Sliced {
    let extent = rows.first().map(|row| Extent::behind(row.0, row.1));
    let message = |row: SliceRow| {
        let (_, _, id, seq, sender, kind, content, client_msg_id, created_at, target, remove, edited_at, recalled) =
            row;
        let columns =
            ((), id, seq, sender, kind, content, client_msg_id, created_at, target, remove, edited_at, recalled);
        message_of(conversation, columns)
    };
    Sliced { messages: rows.into_iter().map(message).collect(), extent }
}

pub fn message_of<C, B: Into<bool>>(conversation_id: ConversationId, row: MessageRow<C, B>) -> Message {
    let (_, message, seq, sender, kind, content, client_msg_id, created_at, target, remove, edited_at, recalled) = row;
    Message {
        conversation_id,
        message_id: MessageId(message),
        seq_id: Seq(seq),
        sender_id: UserId(sender),
        kind: Kind::named(&kind),
        content,
        client_msg_id,
        created_at,
        target_seq: target.map(Seq),
        remove: remove.into(),
        edited_at,
        recalled: recalled.into(),
    }
}

/// user_id, username, display_name, avatar_url, email, status, created_at, password_hash.
pub type UserRow = (i64, String, String, String, String, String, i64, Option<String>);

pub fn credentials_of(row: UserRow) -> Result<Credentials, Fault> {
    let (id, username, display_name, avatar_url, email, status, created_at, password_hash) = row;
    let status = status_named(&status)?;
    let user = User { id: UserId(id), username, display_name, avatar_url, email, status, created_at };
    Ok(Credentials { user, password_hash })
}

pub fn user_of(row: UserRow) -> Result<User, Fault> {
    credentials_of(row).map(|credentials| credentials.user)
}

fn status_named(name: &str) -> Result<UserStatus, Fault> {
    UserStatus::named(name).ok_or_else(|| Fault::Unreadable(format!("user status {name:?}")))
}

/// From the user's status, and whether a token of the sign-in is good.
pub fn sign_in_of((status, goes_on): (String, bool)) -> Result<SignIn, Fault> {
    Ok(SignIn { status: status_named(&status)?, goes_on })
}

/// From user_id and seq_id.
pub fn read_mark_of((user, seq): (i64, i64)) -> ReadMark {
    ReadMark { user_id: UserId(user), seq_id: Seq(seq) }
}

/// user_id, conversation_id, seq_id.
pub type RaisedRow = (i64, String, i64);

pub fn raised_mark_of((user, conversation, seq): RaisedRow) -> Result<RaisedMark, Fault> {
    Ok(RaisedMark { conversation_id: parsed(&conversation)?, mark: read_mark_of((user, seq)) })
}

/// group_id, name, description, owner_id, member_count, max_members, version, large, dissolved,
/// created_at.
pub type GroupRow = (i64, String, String, i64, i32, i32, i64, bool, bool, i64);

pub fn group_of(row: GroupRow) -> Group {
    let (id, name, description, owner, member_count, max_members, version, large, dissolved, created_at) = row;
    Group {
        id: GroupId(id),
        name,
        description,
        owner_id: UserId(owner),
        member_count,
        max_members,
        version,
        large,
        dissolved,
        created_at,
    }
}

/// user_id, username, display_name, role, joined_at.
pub type MemberRow = (i64, String, String, String, i64);

pub fn member_of((id, username, display_name, role, joined_at): MemberRow) -> Result<Member, Fault> {
    Ok(Member { user_id: UserId(id), username, display_name, role: role_named(&role)?, joined_at })
}

/// Rows of version, large and user, ordered by user; a group without a member has one without a user.
pub fn membership_of(group: GroupId, rows: Vec<(i64, bool, Option<i64>)>) -> Option<Membership> {
    let &(version, large, _) = rows.first()?;
    let user_ids = rows.into_iter().filter_map(|(_, _, user)| user.map(UserId)).collect();
    Some(Membership { group_id: group, version, large, user_ids })
}

/// outbox_id, conversation_id, actor_id, client_msg_id, kind, content, created_at.
pub type OutboxColumns = (i64, String, i64, String, String, String, i64);

pub fn outbox_row_of(row: OutboxColumns) -> Result<OutboxRow, Fault> {
    let (id, conversation, actor, client_msg_id, kind, content, created_at) = row;
    Ok(OutboxRow {
        id,
        conversation_id: parsed::<ConversationId>(&conversation)?,
        actor: UserId(actor),
        client_msg_id,
        kind: Kind::named(&kind),
        content,
        created_at,
    })
}

pub fn role_named(name: &str) -> Result<Role, Fault> {
    Role::named(name).ok_or_else(|| Fault::Unreadable(format!("role {name:?}")))
}

/// Reads back an id or name that was stored as text.
pub fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::Unreadable(format!("{text:?} where another form is expected")))
}

/// A limit as SQL takes it.
pub fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Users as the numbers that SQL has.
pub fn numbers(users: &[UserId]) -> Vec<i64> {
    users.iter().map(|user| user.0).collect()
}
