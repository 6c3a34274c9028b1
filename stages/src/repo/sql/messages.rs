//! Reading messages: as they are now.

use std::collections::HashMap;

use schemas::ids::{ConversationId, MessageId, Seq};

use super::fault::Fault;
use super::rows::{limit_of, message_columns, messages_of};
use super::session::{Session, values};
use super::statement::Statement;
use super::tables::{Edge, Slice};
use crate::repo::model::{Extent, HistoryPage, HistoryRange, Message};

macro_rules! select_messages {
    ($rest:literal) => {
        concat!("SELECT m.conversation_id, ", message_columns!(), $rest)
    };
}

impl Session<'_> {
    pub(super) async fn messages(&mut self, ids: &[MessageId]) -> Result<Vec<Message>, Fault> {
        static SELECT: Statement = Statement::new(select_messages!(" FROM messages m WHERE m.message_id = ANY($1)"))
            .mysql(select_messages!(
                " FROM UNNEST($1::bigint[]) AS given (id) STRAIGHT_JOIN messages m ON m.message_id = given.id"
            ));
        let numbers: Vec<_> = ids.iter().map(|id| id.0).collect();
        let found = messages_of(self.rows(&SELECT, values![&*numbers]).await?)?;
        let found: HashMap<_, _> = found.into_iter().map(|message| (message.message_id, message)).collect();
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    pub(super) async fn message_at(
        &mut self,
        conversation: ConversationId,
        seq: Seq,
    ) -> Result<Option<Message>, Fault> {
        Ok(self.pages().messages_at(&[conversation.to_string().as_str()], &[seq.0]).await?.pop())
    }

    pub(super) async fn scan(&mut self, after: MessageId, limit: usize) -> Result<Vec<Message>, Fault> {
        static SELECT: Statement =
            Statement::new(select_messages!(" FROM messages m WHERE m.message_id > $1 ORDER BY m.message_id LIMIT $2"));
        messages_of(self.rows(&SELECT, values![after.0, limit_of(limit)]).await?)
    }

    pub(super) async fn newest(&mut self, limit: usize) -> Result<Vec<Message>, Fault> {
        static SELECT: Statement =
            Statement::new(select_messages!(" FROM messages m ORDER BY m.message_id DESC LIMIT $1"));
        messages_of(self.rows(&SELECT, values![limit_of(limit)]).await?)
    }

    pub(super) async fn extent(&mut self, conversation: ConversationId) -> Result<Extent, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT coalesce(t.seq_id, 0), c.last_seq FROM conversations c \
             LEFT JOIN retired t ON t.conversation_id = c.conversation_id WHERE c.conversation_id = $1",
        );
        let row: Option<(i64, i64)> = self.row(&SELECT, values![&conversation.to_string()]).await?;
        let (retired, last) = row.unwrap_or_default();
        Ok(Extent::behind(retired, last))
    }

    /// A page of at most `limit`. One more is read, to see whether there are more.
    pub(super) async fn history(
        &mut self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<HistoryPage, Fault> {
        let edge = match range {
            HistoryRange::Newest => Edge::Below(Seq(i64::MAX)),
            HistoryRange::Before(seq) => Edge::Below(seq),
            HistoryRange::After(seq) => Edge::Above(seq),
        };
        let slice = Slice { conversation, edge, first, limit: limit_of(limit.saturating_add(1)) };
        let mut page = self.pages().slice(&slice).await?;
        let extent = match page.extent {
            Some(extent) => extent,
            // The last seq before the page: what comes between both is in the page, never missing from it.
            None => {
                let extent = self.extent(conversation).await?;
                page = self.pages().slice(&slice).await?;
                page.extent.unwrap_or(extent)
            }
        };
        let mut messages = page.messages;
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        match edge {
            Edge::Below(_) => messages.reverse(),
            Edge::Above(_) => {}
        }
        let newest = messages.last().map_or(Seq(0), |message| message.seq_id);
        Ok(HistoryPage { messages, has_more, first_seq: extent.first, last_seq: newest.max(extent.last) })
    }
}
