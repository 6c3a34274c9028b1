//! The statements that each dialect writes for itself: those over many rows, which were measured in each.

use async_trait::async_trait;
use schemas::ids::{ConversationId, MessageId, Seq};

use super::fault::Fault;
use super::rows::{RaisedRow, Sliced};
use crate::repo::digest::{Digest, Row};
use crate::repo::model::Message;

/// The rows of a page of a history: at most `limit` from `first` on.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    pub conversation: ConversationId,
    pub edge: Edge,
    pub first: Seq,
    pub limit: i64,
}

/// Where a slice begins, and in which direction it goes.
#[derive(Debug, Clone, Copy)]
pub enum Edge {
    /// The newest below this seq, newest first.
    Below(Seq),
    /// The oldest above this seq, oldest first.
    Above(Seq),
}

impl Slice {
    /// The statement for the direction, of two, and the seq at the edge.
    pub fn choose(&self, below: &'static str, above: &'static str) -> (&'static str, i64) {
        match self.edge {
            Edge::Below(seq) => (below, seq.0),
            Edge::Above(seq) => (above, seq.0),
        }
    }
}

/// Messages as they are now.
#[async_trait]
pub trait Pages: Send {
    /// Those that exist, in any order.
    async fn messages_at(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<Message>, Fault>;
    async fn slice(&mut self, slice: &Slice) -> Result<Sliced, Fault>;
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
    /// Who has these conversations from now on, if they had not, and how far they spoke.
    async fn add_participants(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault>;
    /// How far members spoke; who has left does not get the conversation back by an old message.
    async fn raise_speakers(&mut self, rows: &[UserSeq<'_>]) -> Result<(), Fault>;
    /// Read marks, forward only. Nobody has read what is not there: a mark beyond the last seq is taken
    /// for the last seq, one in a conversation without a message for none. Those that rose, as they are now.
    async fn raise_read_marks(&mut self, rows: &[UserSeq<'_>]) -> Result<Vec<RaisedRow>, Fault>;
}

/// Removal of messages. Places come in the order in which their locks are to be taken; those of a list are distinct.
#[async_trait]
pub trait Removals: Send {
    /// Holds conversations until the end.
    async fn hold(&mut self, conversations: &[&str]) -> Result<(), Fault>;
    /// Notes that messages up to and with these seqs are removed, one a conversation.
    async fn raise_retired(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault>;
    /// Blanks the edits and reactions whose targets are at these places.
    async fn blank_what_is_about(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<(), Fault>;
    /// Deletes the messages at these places, and says how many were there.
    async fn delete_messages(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<u64, Fault>;
    /// Of conversations with a seq each, those whose messages are removed up to there or further: up to where.
    async fn retired_from(&mut self, conversations: &[&str], seqs: &[i64]) -> Result<Vec<(String, i64)>, Fault>;
}
