//! The rules for admitting a message to the chain, as pure functions, for the gateway and for the repo's SaveMessage.
//!
//! Whatever a stage could refuse is refused here, before the ack: after it, nothing is. The form is checked here; the
//! caller checks rights (membership, ownership).

use crate::error::{ErrorCode, Refusal};
use crate::ids::{ConversationId, Seq, UserId};
use crate::kind::Kind;
use crate::names;
use crate::records::Upstream;

/// Bytes of UTF-8 in a message.
pub const CONTENT_BYTES_MAX: usize = 8_192;
/// Characters in a clientMsgId.
pub const CLIENT_MSG_ID_CHARS_MAX: usize = 64;

/// What a user wants to do in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    Say {
        /// `text`, `image` or `file`.
        message_type: String,
        content: String,
    },
    /// Replaces the content of an earlier message.
    Edit { target: i64, content: String },
    /// Withdraws an earlier message.
    Recall { target: i64 },
    /// Adds an emoji to an earlier message, or removes it.
    React { target: i64, emoji: String, remove: bool },
    /// Has read all up to and including `seq`. Needs no clientMsgId.
    MarkRead { seq: i64 },
}

/// Checks the form of an intent and makes its record.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] or [`ErrorCode::TooLarge`]; the message names the field.
pub fn admit(sender: UserId, conversation: &str, client_msg_id: &str, intent: Intent) -> Result<Upstream, Refusal> {
    let conversation_id = conversation_id(conversation)?;
    let record = |kind, content: String, target_seq| Upstream {
        conversation_id,
        sender_id: sender,
        client_msg_id: client_msg_id.into(),
        kind,
        content: content.into(),
        target_seq,
        remove: false,
    };
    if let Intent::MarkRead { seq } = intent {
        let mark = record(Kind::ReadMark, String::new(), Some(seq_id("seqId", seq)?));
        return Ok(Upstream { client_msg_id: "".into(), ..mark });
    }
    check_client_msg_id(client_msg_id)?;
    match intent {
        Intent::Say { message_type, content } => {
            check_content(&content)?;
            Ok(record(said_kind(&message_type)?, content, None))
        }
        Intent::Edit { target, content } => {
            check_content(&content)?;
            Ok(record(Kind::Edit, content, Some(seq_id("targetSeqId", target)?)))
        }
        Intent::Recall { target } => Ok(record(Kind::Recall, String::new(), Some(seq_id("targetSeqId", target)?))),
        Intent::React { target, emoji, remove } => {
            let emoji = names::emoji(&emoji)?;
            let reaction = record(Kind::Reaction, emoji, Some(seq_id("targetSeqId", target)?));
            Ok(Upstream { remove, ..reaction })
        }
        Intent::MarkRead { .. } => unreachable!("answered above"),
    }
}

/// Refuses a resend whose first attempt is too old for dedupe to recognise it.
///
/// # Errors
/// [`ErrorCode::Expired`] when `sent_at_ms` is more than `window_ms` before `now_ms`.
pub fn check_resend_window(sent_at_ms: Option<i64>, now_ms: i64, window_ms: i64) -> Result<(), Refusal> {
    match sent_at_ms {
        Some(sent) if now_ms - sent > window_ms => Err(Refusal::new(
            ErrorCode::Expired,
            format!("first sent more than {} s ago: sync, and send again only if it is not there", window_ms / 1000),
        )),
        Some(_) | None => Ok(()),
    }
}

/// The refusal of messages while too many wait between the ack and the store, or the disk is almost full.
pub fn chain_is_full() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "the server takes no messages at the moment, too many are waiting: send it again in a few seconds",
    )
}

/// Reads a conversation id.
///
/// # Errors
/// [`ErrorCode::InvalidInput`].
pub fn conversation_id(text: &str) -> Result<ConversationId, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid("conversationId is not single_{lowUserId}_{highUserId}, group_{groupId} or world")
    })
}

fn check_client_msg_id(id: &str) -> Result<(), Refusal> {
    let chars = id.chars().count();
    if chars == 0 || chars > CLIENT_MSG_ID_CHARS_MAX || id.contains('\0') {
        return Err(Refusal::invalid(format!("clientMsgId has 1 to {CLIENT_MSG_ID_CHARS_MAX} characters without NUL")));
    }
    Ok(())
}

fn check_content(content: &str) -> Result<(), Refusal> {
    if content.len() > CONTENT_BYTES_MAX {
        let message = format!("content has {} bytes; at most {CONTENT_BYTES_MAX} are taken", content.len());
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    if content.is_empty() || content.contains('\0') {
        return Err(Refusal::invalid(format!("content has 1 to {CONTENT_BYTES_MAX} bytes of UTF-8 without NUL")));
    }
    Ok(())
}

fn said_kind(message_type: &str) -> Result<Kind, Refusal> {
    match Kind::named(message_type) {
        kind @ (Kind::Text | Kind::Image | Kind::File) => Ok(kind),
        _ => Err(Refusal::invalid("messageType is text, image or file")),
    }
}

fn seq_id(field: &str, seq: i64) -> Result<Seq, Refusal> {
    if seq > 0 { Ok(Seq(seq)) } else { Err(Refusal::invalid(format!("{field} is a positive number"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(content: &str) -> Intent {
        Intent::Say { message_type: "text".into(), content: content.into() }
    }

    #[allow(clippy::needless_pass_by_value, reason = "a table of cases reads better")]
    fn check(conversation: &str, client_msg_id: &str, intent: Intent, expected: Result<Kind, ErrorCode>) {
        let answer = admit(UserId(1), conversation, client_msg_id, intent.clone());
        let answer = answer.map(|record| record.kind).map_err(|refusal| refusal.code);
        assert_eq!(answer, expected, "{conversation} {client_msg_id:?} {intent:?}");
    }

    #[test]
    fn what_is_well_formed_is_admitted() {
        check("world", "a", say("hello"), Ok(Kind::Text));
        check("world", &"é".repeat(64), say(&"x".repeat(CONTENT_BYTES_MAX)), Ok(Kind::Text));
        check("single_1_2", "a", Intent::Edit { target: 1, content: "b".into() }, Ok(Kind::Edit));
        check("single_1_2", "a", Intent::Recall { target: 1 }, Ok(Kind::Recall));
        check("group_5", "a", Intent::React { target: 1, emoji: "👍".into(), remove: true }, Ok(Kind::Reaction));
        check("group_5", "", Intent::MarkRead { seq: 7 }, Ok(Kind::ReadMark));
    }

    #[test]
    fn what_is_not_is_refused_with_its_code() {
        let invalid = || Err(ErrorCode::InvalidInput);
        check("worlds", "a", say("hello"), invalid());
        check("world", "", say("hello"), invalid());
        check("world", &"a".repeat(65), say("hello"), invalid());
        check("world", "a\0", say("hello"), invalid());
        check("world", "a", say(""), invalid());
        check("world", "a", say("a\0b"), invalid());
        check("world", "a", say(&"x".repeat(CONTENT_BYTES_MAX + 1)), Err(ErrorCode::TooLarge));
        for message_type in ["system", "joined", "read-mark", "poll", ""] {
            check("world", "a", Intent::Say { message_type: message_type.into(), content: "x".into() }, invalid());
        }
        check("world", "a", Intent::Recall { target: 0 }, invalid());
        check("world", "a", Intent::React { target: 1, emoji: String::new(), remove: false }, invalid());
        check("world", "", Intent::MarkRead { seq: -1 }, invalid());
    }

    #[test]
    fn a_resend_is_taken_within_the_window_only() {
        assert!(check_resend_window(None, 1_000_000, 600_000).is_ok());
        assert!(check_resend_window(Some(400_000), 1_000_000, 600_000).is_ok());
        let late = check_resend_window(Some(399_999), 1_000_000, 600_000);
        assert_eq!(late.map_err(|refusal| refusal.code), Err(ErrorCode::Expired));
    }
}
