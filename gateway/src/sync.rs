//! `sync`: the messages that a client missed, and whether it then has all of them.

use std::collections::BTreeMap;

use axum::extract::ws::Utf8Bytes;
use schemas::admission;
use schemas::error::Refusal;
use schemas::ids::UserId;
use schemas::pb;

use crate::frames;
use crate::repo::Repo;

/// Messages a conversation, when the client does not say.
pub const LIMIT_DEFAULT: i32 = 100;
/// Messages a conversation that may be asked for.
pub const LIMITS: std::ops::RangeInclusive<i32> = 1..=200;

/// Checks the form of a `sync` frame.
///
/// # Errors
/// [`schemas::error::ErrorCode::InvalidInput`].
pub fn check(positions: &BTreeMap<String, i64>, limit: i32, conversations_max: usize) -> Result<(), Refusal> {
    if !LIMITS.contains(&limit) {
        return Err(Refusal::invalid(format!("limit is {} to {}", LIMITS.start(), LIMITS.end())));
    }
    if positions.len() > conversations_max {
        return Err(Refusal::invalid(format!("positions has at most {conversations_max} conversations")));
    }
    for (conversation, position) in positions {
        admission::conversation_id(conversation)?;
        if *position < 0 {
            return Err(Refusal::invalid("a position is a seqId, or 0"));
        }
    }
    Ok(())
}

/// The `sync-result` of one conversation, of up to `bytes_max`; when the repo refuses, with an `error` before it.
pub async fn missed(
    repo: &Repo,
    user: UserId,
    (conversation_id, after): (&str, i64),
    limit: i32,
    bytes_max: usize,
    id: Option<&str>,
) -> Vec<Utf8Bytes> {
    let request = pb::GetConversationMessagesRequest {
        conversation_id: conversation_id.to_owned(),
        before_seq: None,
        after_seq: Some(after),
        limit,
        reader_id: Some(user.0),
        bytes_max: i64::try_from(bytes_max).unwrap_or(i64::MAX),
    };
    match repo.get_conversation_messages(request).await {
        Ok(page) => vec![fitted(page, conversation_id, after, bytes_max, id)],
        Err(refusal) => unanswered(conversation_id, &refusal, id),
    }
}

/// The answer of a conversation whose messages can't be fetched.
pub fn unanswered(conversation_id: &str, refusal: &Refusal, id: Option<&str>) -> Vec<Utf8Bytes> {
    let refusal = Refusal::new(refusal.code, format!("{conversation_id}: {}", refusal.message));
    vec![frames::error(&refusal, id, None), frames::sync_result(id, conversation_id, &[], false, false)]
}

/// The frame of as many of the page's messages as fit, at least one.
fn fitted(
    mut page: pb::GetConversationMessagesResponse,
    conversation_id: &str,
    after: i64,
    bytes_max: usize,
    id: Option<&str>,
) -> Utf8Bytes {
    loop {
        let whole = is_whole(&page, after);
        let frame = frames::sync_result(id, conversation_id, &page.messages, page.has_more, whole);
        let count = page.messages.len();
        if frame.len() <= bytes_max || count <= 1 {
            return frame;
        }
        // By the average message; when the first ones are longer, again.
        page.messages.truncate((count * bytes_max / frame.len()).clamp(1, count - 1));
        page.has_more = true;
    }
}

/// Whether a client that was at `after` misses nothing once it has this page: it has no gap, and reaches the end of the
/// conversation.
pub fn is_whole(page: &pb::GetConversationMessagesResponse, after: i64) -> bool {
    // Nothing before the first seq is for this reader.
    let start = after.max(page.first_seq - 1);
    let end = page.last_seq.max(page.first_seq - 1);
    let reached = page.messages.iter().try_fold(start, |seq, message| (message.seq_id == seq + 1).then_some(seq + 1));
    // A position beyond the end: this answer is older than what the client has.
    !page.has_more && reached == Some(end)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_page_has_as_many_messages_as_fit_and_says_that_there_are_more() {
        for (bytes, bytes_max, expected) in [(100, 100_000, 50), (4_000, 50_000, 11), (90_000, 50_000, 1)] {
            let message = |seq_id| pb::Message { seq_id, content: "x".repeat(bytes), ..Default::default() };
            let messages = (1..=50).map(message).collect();
            let page = pb::GetConversationMessagesResponse { messages, has_more: false, last_seq: 50, first_seq: 1 };
            let frame = fitted(page, "world", 0, bytes_max, None);
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let seqs: Vec<_> = frame["data"]["messages"].as_array().unwrap().iter().map(|m| &m["seqId"]).collect();
            assert_eq!(seqs, (1..=expected).collect::<Vec<_>>());
            let all = expected == 50;
            assert_eq!((&frame["data"]["hasMore"], &frame["data"]["recovered"]), (&(!all).into(), &all.into()));
        }
    }

    fn check_whole(after: i64, first: i64, seqs: &[i64], last: i64, has_more: bool, expected: bool) {
        let messages = seqs.iter().map(|&seq_id| pb::Message { seq_id, ..Default::default() }).collect();
        let page = pb::GetConversationMessagesResponse { messages, has_more, last_seq: last, first_seq: first };
        assert_eq!(is_whole(&page, after), expected, "after {after}, first {first}, {seqs:?}, last {last}");
    }

    #[test]
    fn only_what_reaches_the_end_without_a_gap_is_whole() {
        check_whole(0, 1, &[], 0, false, true);
        check_whole(0, 1, &[1, 2, 3], 3, false, true);
        check_whole(2, 1, &[3], 3, false, true);
        check_whole(3, 1, &[], 3, false, true);
        check_whole(0, 5, &[5, 6], 6, false, true);
        check_whole(0, 5, &[], 4, false, true);
        check_whole(0, 1, &[1, 2], 3, true, false);
        check_whole(0, 1, &[1, 2], 3, false, false);
        check_whole(0, 1, &[2, 3], 3, false, false);
        check_whole(0, 1, &[1, 3], 3, false, false);
        check_whole(1, 1, &[], 3, false, false);
        check_whole(9, 1, &[], 3, false, false);
    }
}
