//! The persist stage: every message is in the store before anybody hears of it.
//!
//! A batch is written in one transaction (and then remembered, where the store is a
//! [`CachedStore`](crate::repo::cached::CachedStore)), then passed on whole, repeats included: the next stage
//! recognises a repeat by (conversation, seq). Held back, a message that was written just before a crash
//! would never arrive.
//!
//! Read marks have no seq to recognise a repeat by. Only marks that the store raised are passed on, with the value that
//! the store has: a mark that changed nothing, or went back, is dropped. So is a mark that was raised just before a
//! crash; it is in the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemas::ids::{ConversationId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;

use crate::repo::model::RaisedMark;
use crate::repo::store::{Class, MessageSink, StoreError};
use crate::stage::{Context, Filter, Input, Output, Outputs, Stage, StageError};

/// Writes sequenced messages to a store and passes them on.
pub struct Persist {
    sink: Arc<dyn MessageSink>,
    /// Marks that the store raised and that were not committed downstream. A retry raises nothing again.
    raised: HashMap<(ConversationId, UserId), Seq>,
    /// Those of them in the current batch.
    passed: HashSet<(ConversationId, UserId)>,
}

impl Persist {
    /// A stage that writes there.
    pub fn new(sink: Arc<dyn MessageSink>) -> Self {
        Self { sink, raised: HashMap::new(), passed: HashSet::new() }
    }

    /// The mark with the store's value, if it is the first of the batch that reaches it.
    fn risen(&mut self, mark: Sequenced) -> Option<Sequenced> {
        let key = (mark.conversation_id, mark.sender_id);
        let seq = *self.raised.get(&key)?;
        let first = mark.target_seq >= Some(seq) && self.passed.insert(key);
        first.then_some(Sequenced { target_seq: Some(seq), ..mark })
    }
}

impl Stage for Persist {
    type In = Sequenced;
    type Out = Sequenced;
    type Change = ();

    const NAME: &str = "persist";

    fn assigned(&mut self, _partition: u32) {}

    fn restore(&mut self, _partition: u32, _changes: Vec<()>) {}

    fn revoked(&mut self, _partition: u32) {
        // The next owner raises nothing by these marks, so nobody passes them on; the store has them.
        self.raised.clear();
    }

    async fn prepare(&mut self, batch: &[Input<Sequenced>]) -> Result<(), StageError> {
        let stored: Vec<_> = batch.iter().map(|input| &input.value).filter(|m| m.kind.rules().stored).collect();
        if stored.is_empty() {
            return Ok(());
        }
        let raised = self.sink.write_batch(&stored).await.map_err(stage_error)?;
        let raised = raised.into_iter();
        self.raised
            .extend(raised.map(|RaisedMark { conversation_id, mark }| ((conversation_id, mark.user_id), mark.seq_id)));
        Ok(())
    }

    fn process(
        &mut self,
        batch: Vec<Input<Sequenced>>,
        out: &mut Outputs<Sequenced, ()>,
        _cx: &Context,
    ) -> Result<(), StageError> {
        for Input { source, headers, value } in batch {
            let value = if value.kind == Kind::ReadMark { self.risen(value) } else { Some(value) };
            out.records.extend(value.map(|value| Output { source, headers, value }));
        }
        Ok(())
    }

    fn committed(&mut self) {
        for key in self.passed.drain() {
            self.raised.remove(&key);
        }
    }

    fn aborted(&mut self) {
        self.passed.clear();
    }
}

impl Filter for Persist {}

fn stage_error(error: StoreError) -> StageError {
    match error.class() {
        Class::Retry => StageError::retry("the store did not take a batch of messages", error),
        Class::Fatal | Class::Refused(_) => StageError::Fatal {
            what: "the store will never take this batch of messages".into(),
            source: Some(error.into()),
        },
    }
}
