//! The persist stage: every message of the chain is in the store before anybody is told of it.
//!
//! A batch is written in one transaction (and then remembered, where the store is a
//! [`CachedStore`](crate::repo::cached::CachedStore)), then passed on whole, repeats included: whoever comes next
//! recognises a repeat by (conversation, seq), and would miss what was written just before a crash
//! if it were held back.

use std::sync::Arc;

use schemas::records::Sequenced;

use crate::repo::store::{Class, Store, StoreError};
use crate::stage::{Context, Input, Output, Outputs, Stage, StageError};

/// Writes sequenced messages to a store and passes them on.
pub struct Persist {
    store: Arc<dyn Store>,
}

impl Persist {
    /// A stage over this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

impl Stage for Persist {
    type In = Sequenced;
    type Out = Sequenced;
    type Change = ();

    fn name(&self) -> &'static str {
        "persist"
    }

    fn assigned(&mut self, _partition: u32) {}

    fn restore(&mut self, _partition: u32, _changes: Vec<()>) {}

    fn revoked(&mut self, _partition: u32) {}

    async fn prepare(&mut self, batch: &[Input<Sequenced>]) -> Result<(), StageError> {
        let stored: Vec<_> = batch.iter().map(|input| &input.value).filter(|m| m.kind.rules().stored).collect();
        if stored.is_empty() {
            return Ok(());
        }
        self.store.write_batch(&stored).await.map_err(stage_error)
    }

    fn process(
        &mut self,
        batch: Vec<Input<Sequenced>>,
        out: &mut Outputs<Sequenced, ()>,
        _cx: &Context,
    ) -> Result<(), StageError> {
        let pass_on = |Input { source, headers, value }| Output { source, headers, value };
        out.records.extend(batch.into_iter().map(pass_on));
        Ok(())
    }

    fn committed(&mut self) {}

    fn aborted(&mut self) {}
}

fn stage_error(error: StoreError) -> StageError {
    match error.class() {
        Class::Retry => StageError::retry("the store did not take a batch of messages", error),
        Class::Fatal | Class::Refused(_) => StageError::Fatal {
            what: "the store will never take this batch of messages".into(),
            source: Some(error.into()),
        },
    }
}
