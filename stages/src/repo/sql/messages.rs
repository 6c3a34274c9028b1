//! Reading messages: as they are now.

use std::collections::HashMap;

use schemas::ids::{ConversationId, MessageId, Seq};

use super::Fault;
use super::tables::{Slice, Tables};
use crate::repo::model::{HistoryPage, HistoryRange, Message};

/// In the order asked for.
pub(super) async fn by_ids(tables: &mut dyn Tables, ids: &[MessageId]) -> Result<Vec<Message>, Fault> {
    let numbers: Vec<_> = ids.iter().map(|id| id.0).collect();
    let found = tables.messages_by_id(&numbers).await?;
    let found: HashMap<_, _> = found.into_iter().map(|message| (message.message_id, message)).collect();
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}

pub(super) async fn at(
    tables: &mut dyn Tables,
    conversation: ConversationId,
    seq: Seq,
) -> Result<Option<Message>, Fault> {
    Ok(tables.messages_at(&[conversation.to_string().as_str()], &[seq.0]).await?.pop())
}

/// A page of at most `limit`. One more is read, to see whether there are more.
pub(super) async fn history(
    tables: &mut dyn Tables,
    conversation: ConversationId,
    range: HistoryRange,
    first: Seq,
    limit: usize,
) -> Result<HistoryPage, Fault> {
    let slice = match range {
        HistoryRange::Newest => Slice::Below(Seq(i64::MAX)),
        HistoryRange::Before(seq) => Slice::Below(seq),
        HistoryRange::After(seq) => Slice::Above(seq),
    };
    let mut page = tables.slice(conversation, first, slice, limit.saturating_add(1)).await?;
    let last = match page.last_seq {
        Some(last) => last,
        // The last seq before the page: what comes between both is in the page, never missing from it.
        None => {
            let last = tables.head(conversation).await?;
            page = tables.slice(conversation, first, slice, limit.saturating_add(1)).await?;
            page.last_seq.unwrap_or(last)
        }
    };
    let mut messages = page.messages;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    match slice {
        Slice::Below(_) => messages.reverse(),
        Slice::Above(_) => {}
    }
    let newest = messages.last().map_or(Seq(0), |message| message.seq_id);
    Ok(HistoryPage { messages, has_more, last_seq: newest.max(last) })
}
