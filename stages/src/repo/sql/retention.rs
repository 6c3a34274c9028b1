//! Removal of messages that are too old, or too many.

use schemas::ids::{ConversationId, MessageId, Seq};

use super::fault::Fault;
use super::rows::{limit_of, parsed};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::model::Extent;

impl Session<'_> {
    pub(super) async fn lease_retention(&mut self, holder: i64, now: i64, until: i64) -> Result<bool, Fault> {
        static TAKE: Statement = Statement::new(
            "UPDATE retention_lease SET holder = $1, until_ms = $3 \
             WHERE singleton = 1 AND (holder = $1 OR until_ms <= $2 OR until_ms > $3)",
        );
        Ok(self.run(&TAKE, values![holder, now, until]).await? > 0)
    }

    /// By id, which is by time, and has a key in every database.
    pub(super) async fn oldest(&mut self, below: MessageId, limit: usize) -> Result<Vec<(ConversationId, Seq)>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT conversation_id, seq_id FROM messages WHERE message_id < $1 ORDER BY message_id LIMIT $2",
        );
        let rows: Vec<(String, i64)> = self.rows(&SELECT, values![below.0, limit_of(limit)]).await?;
        rows.into_iter().map(|(text, seq)| Ok((parsed(&text)?, Seq(seq)))).collect()
    }

    /// By the bytes of their ids, as they lie.
    pub(super) async fn extents(
        &mut self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Extent)>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT c.conversation_id, coalesce(t.seq_id, 0), c.last_seq FROM conversations c \
             LEFT JOIN retired t ON t.conversation_id = c.conversation_id \
             WHERE c.conversation_id > $1 ORDER BY c.conversation_id LIMIT $2",
        );
        let after = after.map_or_else(String::new, |id| id.to_string());
        let rows: Vec<(String, i64, i64)> = self.rows(&SELECT, values![&after, limit_of(limit)]).await?;
        rows.into_iter().map(|(text, retired, last)| Ok((parsed(&text)?, Extent::behind(retired, last)))).collect()
    }

    /// Holds the conversations first, as writers do.
    pub(super) async fn retire(&mut self, places: &[(ConversationId, Seq)]) -> Result<u64, Fault> {
        let mut places: Vec<_> = places.iter().map(|(id, seq)| (id.to_string(), seq.0)).collect();
        places.sort_unstable();
        places.dedup();
        let of_conversations = places.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
        let (held, ends): (Vec<_>, Vec<_>) = of_conversations.map(|(text, end)| (text.as_str(), *end)).unzip();
        let (texts, seqs): (Vec<_>, Vec<_>) = places.iter().map(|(text, seq)| (text.as_str(), *seq)).unzip();
        if places.is_empty() {
            return Ok(0);
        }
        let tables = self.removals();
        tables.hold(&held).await?;
        tables.raise_retired(&held, &ends).await?;
        tables.blank_what_is_about(&texts, &seqs).await?;
        tables.delete_messages(&texts, &seqs).await
    }
}
