//! A store in memory that keeps the rules about messages and fails before, in and after a write.
//!
//! The chain writes batches and asks for nothing else; whatever else a store does is answered with an
//! error that would stop the stage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use stages::repo::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Group, GroupChange, HistoryPage, HistoryRange, Member,
    Membership, Message, NewGroup, NewToken, OutboxRow, RaisedMark, ReadMark, Rotation, SignIn, Standing, TokenHash,
    User, UserPatch,
};
use stages::repo::store::{Store, StoreError};
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
        match self.world.strike(self.process, at, &[Fault::Passing, Fault::Crash]) {
            None => Ok(()),
            Some(Fault::Crash) => {
                self.world.kill(self.process);
                std::future::pending().await
            }
            Some(Fault::Passing | Fault::Abort | Fault::Broken | Fault::Freeze) => Err(StoreError::Unavailable {
                store: "the simulated store".into(),
                doing: "write a batch",
                source: "a fault was injected".into(),
            }),
        }
    }
}

fn not_kept(doing: &'static str) -> StoreError {
    let source = "the chain asks a store for nothing but to write batches".into();
    StoreError::Failed { store: "the simulated store".into(), doing, source }
}

#[async_trait]
impl Store for SimStore {
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
            self.world.kill(self.process);
            std::future::pending().await
        }
        self.world.step(self.process).await;
        self.pass(Boundary::After).await?;
        Ok(raised)
    }

    async fn messages(&self, _ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        Err(not_kept("messages"))
    }

    async fn message_at(&self, _conversation: ConversationId, _seq: Seq) -> Result<Option<Message>, StoreError> {
        Err(not_kept("message_at"))
    }

    async fn scan(&self, _after: MessageId, _limit: usize) -> Result<Vec<Message>, StoreError> {
        Err(not_kept("scan"))
    }

    async fn newest(&self, _limit: usize) -> Result<Vec<Message>, StoreError> {
        Err(not_kept("newest"))
    }

    async fn log_id(&self) -> Result<Option<String>, StoreError> {
        Err(not_kept("log_id"))
    }

    async fn set_log_id(&self, _id: &str) -> Result<(), StoreError> {
        Err(not_kept("set_log_id"))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Err(not_kept("probe"))
    }

    async fn probe_replicas(&self) -> Vec<StoreError> {
        Vec::new()
    }

    async fn history(
        &self,
        _conversation: ConversationId,
        _range: HistoryRange,
        _first: Seq,
        _limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        Err(not_kept("history"))
    }

    async fn conversations(
        &self,
        _user: UserId,
        _after: Option<ConversationsAfter>,
        _limit: usize,
    ) -> Result<Vec<ConversationView>, StoreError> {
        Err(not_kept("conversations"))
    }

    async fn heads(&self, _user: UserId, _since: i64, _limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError> {
        Err(not_kept("heads"))
    }

    async fn standing(&self, _conversation: ConversationId, _user: UserId) -> Result<Option<Standing>, StoreError> {
        Err(not_kept("standing"))
    }

    async fn read_marks(&self, _conversation: ConversationId) -> Result<Vec<ReadMark>, StoreError> {
        Err(not_kept("read_marks"))
    }

    async fn newest_id(&self, _below: i64) -> Result<i64, StoreError> {
        Err(not_kept("newest_id"))
    }

    async fn sign_in(&self, _user: UserId, _family: i64, _now: i64) -> Result<Option<SignIn>, StoreError> {
        Err(not_kept("sign_in"))
    }

    async fn create_user(&self, _user: &User, _password_hash: Option<&str>) -> Result<(), StoreError> {
        Err(not_kept("create_user"))
    }

    async fn user(&self, _id: UserId) -> Result<Option<User>, StoreError> {
        Err(not_kept("user"))
    }

    async fn credentials(&self, _username: &str) -> Result<Option<Credentials>, StoreError> {
        Err(not_kept("credentials"))
    }

    async fn update_user(&self, _id: UserId, _patch: &UserPatch) -> Result<Option<User>, StoreError> {
        Err(not_kept("update_user"))
    }

    async fn start_family(&self, _user: UserId, _family: i64, _token: NewToken, _now: i64) -> Result<(), StoreError> {
        Err(not_kept("start_family"))
    }

    async fn rotate_token(&self, _used: TokenHash, _next: NewToken, _now: i64) -> Result<Rotation, StoreError> {
        Err(not_kept("rotate_token"))
    }

    async fn revoke_family(&self, _user: UserId, _family: i64) -> Result<(), StoreError> {
        Err(not_kept("revoke_family"))
    }

    async fn create_group(&self, _group: &NewGroup, _act: &Act) -> Result<Group, StoreError> {
        Err(not_kept("create_group"))
    }

    async fn change_group(&self, _group: GroupId, _change: &GroupChange, _act: &Act) -> Result<Group, StoreError> {
        Err(not_kept("change_group"))
    }

    async fn group(&self, _id: GroupId) -> Result<Option<Group>, StoreError> {
        Err(not_kept("group"))
    }

    async fn members(&self, _group: GroupId, _after: UserId, _limit: usize) -> Result<Vec<Member>, StoreError> {
        Err(not_kept("members"))
    }

    async fn members_among(&self, _group: GroupId, _users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        Err(not_kept("members_among"))
    }

    async fn membership(&self, _group: GroupId) -> Result<Option<Membership>, StoreError> {
        Err(not_kept("membership"))
    }

    async fn outbox(&self, _limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        Err(not_kept("outbox"))
    }

    async fn outbox_published(&self, _ids: &[i64]) -> Result<(), StoreError> {
        Err(not_kept("outbox_published"))
    }
}
