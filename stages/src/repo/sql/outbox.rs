//! Group events that wait to be put on the chain. A row that is gone was published.

use schemas::ids::ConversationId;

use super::fault::Fault;
use super::rows::{OutboxColumns, limit_of, outbox_row_of};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::model::{Act, OutboxRow};

impl Session<'_> {
    pub(super) async fn insert_event(
        &mut self,
        conversation: ConversationId,
        kind: &str,
        content: &str,
        act: &Act,
    ) -> Result<(), Fault> {
        static INSERT: Statement = Statement::new(
            "INSERT INTO outbox (conversation_id, actor_id, client_msg_id, kind, content, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let conversation = conversation.to_string();
        self.run(&INSERT, values![&conversation, act.actor, &act.event_id, kind, content, act.at]).await?;
        Ok(())
    }

    pub(super) async fn outbox(&mut self, limit: usize) -> Result<Vec<OutboxRow>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT outbox_id, conversation_id, actor_id, client_msg_id, kind, content, created_at FROM outbox \
             ORDER BY outbox_id LIMIT $1",
        );
        let rows: Vec<OutboxColumns> = self.rows(&SELECT, values![limit_of(limit)]).await?;
        rows.into_iter().map(outbox_row_of).collect()
    }

    pub(super) async fn outbox_published(&mut self, ids: &[i64]) -> Result<(), Fault> {
        static DELETE: Statement = Statement::new("DELETE FROM outbox WHERE outbox_id = ANY($1)")
            .mysql("DELETE o FROM UNNEST($1::bigint[]) AS given (id) STRAIGHT_JOIN outbox o ON o.outbox_id = given.id");
        self.run(&DELETE, values![ids]).await?;
        Ok(())
    }
}
