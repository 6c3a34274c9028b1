//! JSON of REST responses and frames: ids as decimal strings, times as RFC 3339.

use schemas::error::Refusal;
use schemas::ids::decimal;
use schemas::kind::Kind;
use schemas::pb;
use schemas::records::Sequenced;
use schemas::time::rfc3339;
use serde::Serialize;

/// A sign-in of the caller.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInView {
    #[serde(with = "decimal")]
    session_id: i64,
    refreshed_at: String,
    expires_at: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl SignInView {
    pub fn of(sign_in: &pb::OpenSignIn, current: i64) -> Self {
        let &pb::OpenSignIn { session_id, refreshed_at, expires_at } = sign_in;
        let current = session_id == current;
        Self { session_id, refreshed_at: rfc3339(refreshed_at), expires_at: rfc3339(expires_at), current }
    }
}

/// A message, as delivered and as in the history.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView<'a> {
    conversation_id: String,
    #[serde(with = "decimal")]
    message_id: i64,
    seq_id: i64,
    #[serde(with = "decimal")]
    sender_id: i64,
    message_type: &'a str,
    content: &'a str,
    client_msg_id: &'a str,
    created_at: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_seq_id: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    remove: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recalled: bool,
}

impl<'a> MessageView<'a> {
    pub fn delivered(message: &'a Sequenced) -> Self {
        Self {
            conversation_id: message.conversation_id.to_string(),
            message_id: message.message_id.0,
            seq_id: message.seq_id.0,
            sender_id: message.sender_id.0,
            message_type: message.kind.name(),
            content: &message.content,
            client_msg_id: &message.client_msg_id,
            created_at: rfc3339(message.created_at),
            event: message.kind.class().name(),
            target_seq_id: message.target_seq.map(|seq| seq.0),
            remove: message.remove,
            edited_at: None,
            recalled: false,
        }
    }

    pub fn stored(message: &'a pb::Message) -> Self {
        Self {
            conversation_id: message.conversation_id.clone(),
            message_id: message.message_id,
            seq_id: message.seq_id,
            sender_id: message.sender_id,
            message_type: &message.kind,
            content: &message.content,
            client_msg_id: &message.client_msg_id,
            created_at: rfc3339(message.created_at),
            event: Kind::named(&message.kind).class().name(),
            target_seq_id: message.target_seq,
            remove: message.remove,
            edited_at: message.edited_at.map(rfc3339),
            recalled: message.recalled,
        }
    }
}

/// The ids of a message, for the socket that sent it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredView<'a> {
    client_msg_id: &'a str,
    conversation_id: String,
    #[serde(with = "decimal")]
    message_id: i64,
    seq_id: i64,
    created_at: String,
}

impl<'a> StoredView<'a> {
    pub fn of(message: &'a Sequenced) -> Self {
        Self {
            client_msg_id: &message.client_msg_id,
            conversation_id: message.conversation_id.to_string(),
            message_id: message.message_id.0,
            seq_id: message.seq_id.0,
            created_at: rfc3339(message.created_at),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadReceiptView {
    conversation_id: String,
    #[serde(with = "decimal")]
    user_id: i64,
    seq_id: i64,
}

impl ReadReceiptView {
    pub fn of(mark: &Sequenced) -> Self {
        Self {
            conversation_id: mark.conversation_id.to_string(),
            user_id: mark.sender_id.0,
            seq_id: mark.target_seq.unwrap_or_default().0,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadMarkView {
    #[serde(with = "decimal")]
    user_id: i64,
    seq_id: i64,
}

impl ReadMarkView {
    pub fn of(mark: &pb::ReadMark) -> Self {
        Self { user_id: mark.user_id, seq_id: mark.seq_id }
    }
}

/// A user. Only they see their email address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    #[serde(with = "decimal")]
    user_id: i64,
    username: String,
    display_name: String,
    avatar_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    status: String,
    created_at: String,
}

impl UserView {
    pub fn own(user: pb::User) -> Self {
        let email = Some(user.email.clone());
        Self { email, ..Self::other(user) }
    }

    pub fn other(user: pb::User) -> Self {
        Self {
            user_id: user.user_id,
            username: user.username,
            display_name: user.display_name,
            avatar_url: user.avatar_url,
            email: None,
            status: user.status,
            created_at: rfc3339(user.created_at),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationView<'a> {
    conversation_id: &'a str,
    kind: &'a str,
    title: &'a str,
    last_seq: i64,
    read_seq: i64,
    unread: i64,
    last_message: Option<MessageView<'a>>,
    updated_at: String,
}

impl<'a> ConversationView<'a> {
    pub fn of(row: &'a pb::Conversation) -> Self {
        Self {
            conversation_id: &row.conversation_id,
            kind: &row.kind,
            title: &row.title,
            last_seq: row.last_seq,
            read_seq: row.read_seq,
            unread: row.unread,
            last_message: row.last_message.as_ref().map(MessageView::stored),
            updated_at: rfc3339(row.updated_at),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    #[serde(with = "decimal")]
    group_id: i64,
    conversation_id: String,
    name: String,
    description: String,
    #[serde(with = "decimal")]
    owner_id: i64,
    member_count: i32,
    max_members: i32,
    version: i64,
    dissolved: bool,
    created_at: String,
}

impl From<pb::Group> for GroupView {
    fn from(group: pb::Group) -> Self {
        Self {
            group_id: group.group_id,
            conversation_id: format!("group_{}", group.group_id),
            name: group.name,
            description: group.description,
            owner_id: group.owner_id,
            member_count: group.member_count,
            max_members: group.max_members,
            version: group.version,
            dissolved: group.dissolved,
            created_at: rfc3339(group.created_at),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    #[serde(with = "decimal")]
    user_id: i64,
    username: String,
    display_name: String,
    role: String,
    joined_at: String,
    online: bool,
}

impl From<pb::GroupMember> for MemberView {
    fn from(member: pb::GroupMember) -> Self {
        Self {
            user_id: member.user_id,
            username: member.username,
            display_name: member.display_name,
            role: member.role,
            joined_at: rfc3339(member.joined_at),
            online: member.online,
        }
    }
}

/// A refusal, in the body of a response or in an `error` frame.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorView<'a> {
    code: u16,
    name: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_msg_id: Option<&'a str>,
}

impl<'a> ErrorView<'a> {
    pub fn of(refusal: &'a Refusal, client_msg_id: Option<&'a str>) -> Self {
        Self {
            code: refusal.code.code(),
            name: refusal.code.name(),
            message: &refusal.message,
            retryable: refusal.code.retryable(),
            client_msg_id,
        }
    }
}
