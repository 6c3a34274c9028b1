//! Parses the ids, limits and cursors of requests, and checks their bounds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::error::Refusal;
use schemas::ids::{ConversationId, GroupId, MessageId, UserId};

use crate::repo::model::ConversationsAfter;

/// Bytes of the longest cursor that is looked at.
const CURSOR_BYTES_MAX: usize = 128;

/// How many entries a page may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageLimit {
    pub(super) default: usize,
    pub(super) max: usize,
}

/// The limit of pages of messages and of conversations.
pub(super) const PAGE: PageLimit = PageLimit { default: 50, max: 200 };
pub(super) const MEMBERS_PAGE: PageLimit = PageLimit { default: 100, max: 1_000 };

impl PageLimit {
    /// 0 is left out. More than the maximum is refused, not cut.
    pub(super) fn read(self, limit: i32) -> Result<usize, Refusal> {
        match usize::try_from(limit) {
            Ok(0) => Ok(self.default),
            Ok(limit) if limit <= self.max => Ok(limit),
            Ok(_) | Err(_) => Err(Refusal::invalid(format!("limit is 1 to {}", self.max))),
        }
    }
}

pub(super) fn user_id(field: &str, id: i64) -> Result<UserId, Refusal> {
    positive(field, id).map(UserId)
}

pub(super) fn group_id(id: i64) -> Result<GroupId, Refusal> {
    positive("group_id", id).map(GroupId)
}

pub(super) fn message_id(id: i64) -> Result<MessageId, Refusal> {
    positive("message_id", id).map(MessageId)
}

pub(super) fn positive(field: &str, id: i64) -> Result<i64, Refusal> {
    if id > 0 { Ok(id) } else { Err(Refusal::invalid(format!("{field} is a positive number"))) }
}

/// Refuses a list that is too long.
pub(super) fn check_count(field: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count <= max {
        Ok(())
    } else {
        Err(Refusal::invalid(format!("{field} has {count} entries; at most {max} are taken")))
    }
}

/// A list of users, each once, in the order of their ids.
pub(super) fn user_ids(field: &str, ids: &[i64], max: usize) -> Result<Vec<UserId>, Refusal> {
    check_count(field, ids.len(), max)?;
    let mut users = ids.iter().map(|&id| user_id(field, id)).collect::<Result<Vec<_>, _>>()?;
    users.sort_unstable();
    users.dedup();
    Ok(users)
}

pub(super) fn conversations_cursor(after: ConversationsAfter) -> String {
    URL_SAFE_NO_PAD.encode(format!("c{}/{}", after.updated_at, after.id))
}

pub(super) fn read_conversations_cursor(cursor: &str) -> Result<Option<ConversationsAfter>, Refusal> {
    read_cursor(cursor, |text| {
        let (updated_at, id) = text.strip_prefix('c')?.split_once('/')?;
        let id: ConversationId = id.parse().ok()?;
        Some(ConversationsAfter { updated_at: updated_at.parse().ok().filter(|&at: &i64| at >= 0)?, id })
    })
}

pub(super) fn members_cursor(after: UserId) -> String {
    URL_SAFE_NO_PAD.encode(format!("m{after}"))
}

pub(super) fn read_members_cursor(cursor: &str) -> Result<Option<UserId>, Refusal> {
    read_cursor(cursor, |text| text.strip_prefix('m')?.parse().ok())
}

/// Empty: from the start. What is no cursor of this list is refused.
fn read_cursor<T>(cursor: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let decode = || {
        let bytes = (cursor.len() <= CURSOR_BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(cursor).ok())??;
        read(std::str::from_utf8(&bytes).ok()?)
    };
    let refused = || Refusal::invalid("cursor is not one that this list gave: start without one");
    decode().map(Some).ok_or_else(refused)
}
