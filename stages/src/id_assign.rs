//! Gives each message its identity: a unique id, and the next seq of its conversation.
//!
//! Seqs are 1, 2, 3 … without a gap; kinds that count as unread also get the next ordinal. Outputs,
//! position and the [`Head`]s of the conversations are committed at once, so a visible identity is never assigned
//! again, and an aborted one leaves no gap.
//!
//! Each stage needs an instance id of its own: two with the same one would make the same ids.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::kind::Rules;
use schemas::records::{Head, Sequenced, Upstream};
use schemas::snowflake::{LeaseEnds, Snowflake, time_of};

use crate::stage::{Context, Input, Output, Outputs, Stage, StageError};

#[derive(Debug)]
pub struct IdAssign {
    snowflake: Snowflake,
    /// As it was before the current batch.
    snowflake_before: Snowflake,
    partitions: BTreeMap<u32, HashMap<ConversationId, Newest>>,
    /// What the current batch changed, in the order of first change.
    changed: Vec<Changed>,
    /// The number of the current batch.
    batch: u64,
}

/// The newest identity of a conversation.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: i64,
    ordinal: i64,
    message_id: i64,
    created_at: i64,
    /// The batch that last changed it.
    batch: u64,
}

#[derive(Debug)]
struct Changed {
    partition: u32,
    conversation: ConversationId,
    /// `None`: the conversation began in this batch.
    before: Option<Newest>,
}

impl IdAssign {
    /// `instance` is this process's instance id, below [`schemas::snowflake::INSTANCES`].
    ///
    /// # Panics
    /// When `instance` is out of range: a wiring mistake.
    pub fn new(instance: u16) -> Self {
        let snowflake = Snowflake::new(instance);
        Self {
            snowflake_before: snowflake.clone(),
            snowflake,
            partitions: BTreeMap::new(),
            changed: Vec::new(),
            batch: 1,
        }
    }

    /// How many conversations are known, over all partitions.
    pub fn conversations(&self) -> usize {
        self.partitions.values().map(HashMap::len).sum()
    }

    fn identify(
        &mut self,
        partition: u32,
        record: Upstream,
        rules: Rules,
        cx: &Context,
    ) -> Result<Sequenced, StageError> {
        let Some(heads) = self.partitions.get_mut(&partition) else {
            return Err(StageError::not_assigned(Self::NAME, partition));
        };
        let id = self.snowflake.next(cx.now_ms, cx.ids_not_after_ms).map_err(lease_ends)?;
        let conversation = record.conversation_id;
        let newest = match heads.entry(conversation) {
            Entry::Occupied(known) => {
                let newest = known.into_mut();
                if newest.batch != self.batch {
                    self.changed.push(Changed { partition, conversation, before: Some(*newest) });
                }
                newest
            }
            Entry::Vacant(unknown) => {
                self.changed.push(Changed { partition, conversation, before: None });
                unknown.insert(Newest { seq: 0, ordinal: 0, message_id: 0, created_at: 0, batch: 0 })
            }
        };
        *newest = Newest {
            seq: newest.seq + 1,
            ordinal: newest.ordinal + i64::from(rules.counts_unread),
            message_id: id,
            created_at: newest.created_at.max(cx.now_ms),
            batch: self.batch,
        };
        Ok(record.identified(MessageId(id), Seq(newest.seq), newest.ordinal, newest.created_at))
    }

    /// A record without a seq. A read mark is capped at the newest seq: nobody has read what was not sent.
    fn without_place(&self, partition: u32, record: Upstream, cx: &Context) -> Result<Sequenced, StageError> {
        let Some(heads) = self.partitions.get(&partition) else {
            return Err(StageError::not_assigned(Self::NAME, partition));
        };
        let newest = Seq(heads.get(&record.conversation_id).map_or(0, |newest| newest.seq));
        let target_seq = record.target_seq.map(|seq| seq.min(newest));
        Ok(Upstream { target_seq, ..record }.identified(MessageId(0), Seq(0), 0, cx.now_ms))
    }

    fn heads(&self) -> impl Iterator<Item = (u32, Head)> {
        self.changed.iter().filter_map(|&Changed { partition, conversation, .. }| {
            let newest = self.partitions.get(&partition)?.get(&conversation)?;
            let head = Head {
                conversation_id: conversation,
                seq_id: Seq(newest.seq),
                ordinal: newest.ordinal,
                message_id: MessageId(newest.message_id),
            };
            Some((partition, head))
        })
    }
}

impl Stage for IdAssign {
    type In = Upstream;
    type Out = Sequenced;
    type Change = Head;

    const NAME: &str = "id-assign";

    fn assigned(&mut self, partition: u32) {
        self.partitions.insert(partition, HashMap::new());
    }

    fn restore(&mut self, partition: u32, changes: Vec<Head>) {
        let heads = self.partitions.entry(partition).or_default();
        for head in changes {
            let message_id = head.message_id.0;
            self.snowflake.observe(message_id);
            // At least every creation time so far: an id's time is never before the clock's.
            let created_at = time_of(message_id);
            let newest = Newest { seq: head.seq_id.0, ordinal: head.ordinal, message_id, created_at, batch: 0 };
            heads.insert(head.conversation_id, newest);
        }
        self.snowflake_before = self.snowflake.clone();
    }

    fn revoked(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }

    /// [`StageError::Retry`] when the lease of the instance id ends too soon.
    fn process(
        &mut self,
        batch: Vec<Input<Upstream>>,
        out: &mut Outputs<Sequenced, Head>,
        cx: &Context,
    ) -> Result<(), StageError> {
        out.records.reserve(batch.len());
        for Input { source, headers, value } in batch {
            let rules = value.kind.rules();
            let value = if rules.sequenced {
                self.identify(source.partition, value, rules, cx)?
            } else {
                self.without_place(source.partition, value, cx)?
            };
            out.records.push(Output { source, headers, value });
        }
        out.changes.extend(self.heads());
        Ok(())
    }

    fn committed(&mut self) {
        self.changed.clear();
        self.snowflake_before = self.snowflake.clone();
        self.batch += 1;
    }

    fn aborted(&mut self) {
        for Changed { partition, conversation, before } in self.changed.drain(..) {
            let Some(heads) = self.partitions.get_mut(&partition) else { continue };
            match before {
                Some(newest) => heads.insert(conversation, newest),
                None => heads.remove(&conversation),
            };
        }
        self.snowflake = self.snowflake_before.clone();
        self.batch += 1;
    }
}

fn lease_ends(source: LeaseEnds) -> StageError {
    StageError::retry("no message can get an id: check that this process reaches the coordination service", source)
}
