//! A store in memory that keeps the rules about messages and fails before, in and after a write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{RaisedMark, ReadMark};
use stages::repo::store::{MessageSink, StoreError};
use tokio::time::sleep;

use super::world::{Boundary, Fault, Happening, Process, World};

/// The rows, as every process of a schedule shares them.
#[derive(Default)]
pub struct Rows(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_place: BTreeMap<(ConversationId, Seq), Sequenced>,
    by_id: BTreeMap<MessageId, (ConversationId, Seq)>,
    last_seqs: BTreeMap<ConversationId, Seq>,
    read: BTreeMap<(ConversationId, UserId), Seq>,
}

impl Tables {
    fn raise<'a>(&mut self, marks: impl Iterator<Item = &'a Sequenced>) -> Vec<RaisedMark> {
        let mut raised = BTreeMap::new();
        for mark in marks {
            let key = (mark.conversation_id, mark.sender_id);
            let last = self.last_seqs.get(&mark.conversation_id).copied().unwrap_or_default();
            let seq = mark.target_seq.unwrap_or_default().min(last);
            let read = self.read.entry(key).or_default();
            if seq > *read {
                *read = seq;
                raised.insert(key, seq);
            }
        }
        let mark =
            |((conversation_id, user_id), seq_id)| RaisedMark { conversation_id, mark: ReadMark { user_id, seq_id } };
        raised.into_iter().map(mark).collect()
    }
}

impl Rows {
    /// Every message, by place.
    pub fn messages(&self) -> Vec<Sequenced> {
        self.0.lock().unwrap().by_place.values().cloned().collect()
    }

    /// Whether there is a row at this place.
    pub fn has(&self, conversation: ConversationId, seq: Seq) -> bool {
        self.0.lock().unwrap().by_place.contains_key(&(conversation, seq))
    }

    /// All of a batch or nothing; a row that is there must be the very message.
    /// The read marks that it raised.
    pub fn write(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let rows = || batch.iter().filter(|message| message.kind.rules().sequenced);
        for message in rows() {
            let (conversation, seq, id) = (message.conversation_id, message.seq_id, message.message_id);
            if seq.0 < 1 || id.0 < 1 {
                return Err(StoreError::NoIdentity { conversation, seq, message: id });
            }
            let there = tables.by_place.get(&(conversation, seq)).map(|row| (row.message_id, conversation, seq));
            let same_id = tables.by_id.get(&id).map(|&(conversation, seq)| (id, conversation, seq));
            let other = [there, same_id].into_iter().flatten().find(|row| *row != (id, conversation, seq));
            if let Some((stored, other, at)) = other {
                let stored = format!("message {stored} ({other} seq {at})");
                return Err(StoreError::IdentityTaken { conversation, seq, given: id, stored });
            }
        }
        for message in rows() {
            let place = (message.conversation_id, message.seq_id);
            tables.by_id.insert(message.message_id, place);
            tables.by_place.entry(place).or_insert_with(|| (*message).clone());
            let last = tables.last_seqs.entry(message.conversation_id).or_default();
            *last = message.seq_id.max(*last);
        }
        let marks = batch.iter().filter(|message| message.kind == Kind::ReadMark);
        Ok(tables.raise(marks.copied()))
    }
}

/// A process's way to the store.
pub struct SimStore {
    pub rows: Arc<Rows>,
    pub world: Arc<World>,
    pub process: Process,
    pub answers: Answers,
}

/// When a store says that a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// When it is.
    OnceItIsWritten,
    /// Before: what the process has not written when it dies is lost. A bug to be caught.
    BeforeItIsWritten,
}

/// How long a store that answers too early takes to write.
const WRITTEN_LATER: Duration = Duration::from_millis(12);

impl SimStore {
    fn write_later(&self, batch: &[&Sequenced]) {
        let batch: Vec<Sequenced> = batch.iter().map(|message| (*message).clone()).collect();
        let (rows, world, process) = (Arc::clone(&self.rows), Arc::clone(&self.world), self.process);
        let life = world.life(process);
        tokio::spawn(async move {
            sleep(WRITTEN_LATER).await;
            if world.life(process) == life {
                let batch: Vec<&Sequenced> = batch.iter().collect();
                let _nobody_hears = rows.write(&batch);
            }
        });
    }

    async fn pass(&self, at: Boundary) -> Result<(), StoreError> {
        let passed = self.world.pass(self.process, at, &[Fault::Passing, Fault::Crash]).await;
        passed.map_err(|_| StoreError::Unavailable {
            store: "the simulated store".into(),
            doing: "write a batch",
            source: "a fault was injected".into(),
        })
    }
}

#[async_trait]
impl MessageSink for SimStore {
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError> {
        self.world.step(self.process).await;
        self.pass(Boundary::Before).await?;
        if self.answers == Answers::BeforeItIsWritten {
            self.write_later(batch);
            return Ok(Vec::new());
        }
        // The process dies while the store works on it: nobody but the store knows how it ended.
        let dies = self.world.strike(self.process, Boundary::Within, &[Fault::Crash]).is_some();
        let mut raised = Vec::new();
        if !dies || self.world.draw(|random| random.random_bool(0.5)) {
            raised = self.rows.write(batch)?;
            self.world.note(Happening::Stored { by: self.process, rows: batch.len() });
        }
        if dies {
            self.world.die(self.process).await;
        }
        self.world.step(self.process).await;
        self.pass(Boundary::After).await?;
        Ok(raised)
    }
}
