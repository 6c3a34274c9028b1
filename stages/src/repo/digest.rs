//! Aggregates a batch of messages before any statement is sent: pure, the same for every store.
//!
//! Each conversation, speaker and read mark is written once a batch, however often it occurs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemas::ids::{ConversationId, Seq, UserId};
use schemas::kind::{EventClass, Kind};
use schemas::records::Sequenced;

use super::store::StoreError;

/// An aggregated batch. Conversations and kinds are numbered, and their texts are made once.
#[derive(Debug, Default)]
pub struct Digest<'a> {
    /// Every row of the history, in order.
    pub rows: Vec<Row<'a>>,
    /// Edits and recalls, in the order of the batch.
    pub changes: Vec<Row<'a>>,
    pub conversations: Vec<Conversation>,
    /// Names of the kinds that occur.
    pub kinds: Vec<(&'a Kind, Arc<str>)>,
    /// Who has a conversation from its first message on, or spoke in one that is joined by speaking
    /// (`single_`, `world`), and their newest own seq (0: none).
    pub participants: BTreeMap<(UserId, usize), Seq>,
    /// Who spoke in a group, which only its members have, and their newest own seq.
    pub group_speakers: BTreeMap<(UserId, usize), Seq>,
    /// Read marks, the furthest of each user and conversation.
    pub read_marks: BTreeMap<(UserId, usize), Seq>,
    numbers: HashMap<ConversationId, usize>,
}

/// A message that gets a row in the history.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub message: &'a Sequenced,
    /// Index into [`Digest::conversations`].
    pub conversation: usize,
    /// Index into [`Digest::kinds`].
    pub kind: usize,
}

#[derive(Debug, Clone)]
pub struct Conversation {
    /// The id as the store has it.
    pub text: Arc<str>,
    /// How far the batch brings it; `None`: it has read marks only.
    pub tip: Option<Tip>,
}

/// How far a batch brings a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tip {
    /// The lowest seq of the batch, of messages and of what they are about.
    pub reaches_back: Seq,
    pub last_seq: Seq,
    /// The ordinal of the message with `last_seq`.
    pub last_ordinal: i64,
    /// The newest seq that stands for itself: no edit, recall or reaction. 0: none in this batch.
    pub newest_seq: Seq,
    /// When the newest was said, ms since 1970 UTC.
    pub updated_at: i64,
}

impl<'a> Digest<'a> {
    /// Aggregates a batch. Kinds that are not stored are skipped.
    ///
    /// # Errors
    /// [`StoreError::NoIdentity`].
    pub fn of(batch: &[&'a Sequenced]) -> Result<Self, StoreError> {
        let mut digest = Self { rows: Vec::with_capacity(batch.len()), ..Self::default() };
        for message in batch {
            let rules = message.kind.rules();
            match (rules.stored, rules.sequenced) {
                (false, _) => {}
                (true, true) => digest.add_row(message)?,
                (true, false) => digest.add_read_mark(message),
            }
        }
        Ok(digest)
    }

    fn add_row(&mut self, message: &'a Sequenced) -> Result<(), StoreError> {
        if message.seq_id.0 <= 0 || message.message_id.0 <= 0 {
            return Err(StoreError::NoIdentity {
                conversation: message.conversation_id,
                seq: message.seq_id,
                message: message.message_id,
            });
        }
        let conversation = self.number(message.conversation_id);
        let row = Row { message, conversation, kind: self.kind(&message.kind) };
        self.rows.push(row);
        let class = message.kind.class();
        match class {
            EventClass::Edit | EventClass::Recall => self.changes.push(row),
            EventClass::Message | EventClass::Reaction | EventClass::System => {}
        }
        self.conversations[conversation].tip.get_or_insert_default().advance(message, class);
        self.add_people(message, conversation);
        Ok(())
    }

    fn add_people(&mut self, message: &Sequenced, conversation: usize) {
        let own = if message.kind.rules().counts_unread { message.seq_id } else { Seq(0) };
        let own_key = (message.sender_id, conversation);
        match message.conversation_id {
            ConversationId::Single { low, high } => {
                if message.seq_id == Seq(1) {
                    self.participants.entry((low, conversation)).or_default();
                    self.participants.entry((high, conversation)).or_default();
                }
                raise(&mut self.participants, own_key, own);
            }
            ConversationId::World => raise(&mut self.participants, own_key, own),
            ConversationId::Group(_) => raise(&mut self.group_speakers, own_key, own),
        }
    }

    fn add_read_mark(&mut self, mark: &Sequenced) {
        let conversation = self.number(mark.conversation_id);
        raise(&mut self.read_marks, (mark.sender_id, conversation), mark.target_seq.unwrap_or_default());
    }

    fn number(&mut self, id: ConversationId) -> usize {
        *self.numbers.entry(id).or_insert_with(|| {
            self.conversations.push(Conversation { text: id.to_string().into(), tip: None });
            self.conversations.len() - 1
        })
    }

    fn kind(&mut self, kind: &'a Kind) -> usize {
        self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, kind.name().into()));
            self.kinds.len() - 1
        })
    }
}

impl Tip {
    fn advance(&mut self, message: &Sequenced, class: EventClass) {
        match class {
            EventClass::Message | EventClass::System => self.newest_seq = self.newest_seq.max(message.seq_id),
            EventClass::Edit | EventClass::Recall | EventClass::Reaction => {}
        }
        let target = message.target_seq.filter(|&target| target > Seq(0));
        let lowest = target.map_or(message.seq_id, |target| target.min(message.seq_id));
        if lowest < self.reaches_back || self.reaches_back == Seq(0) {
            self.reaches_back = lowest;
        }
        if message.seq_id > self.last_seq {
            self.last_seq = message.seq_id;
            self.last_ordinal = message.ordinal;
            self.updated_at = self.updated_at.max(message.created_at);
        }
    }
}

fn raise(seqs: &mut BTreeMap<(UserId, usize), Seq>, key: (UserId, usize), seq: Seq) {
    if seq > Seq(0) {
        let known = seqs.entry(key).or_default();
        *known = seq.max(*known);
    }
}
