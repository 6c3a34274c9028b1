//! The identity of each message that `sequenced-messages` holds: 8 bytes a message, and some 100 a
//! conversation. Everything else that an audit reads is compared with it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::records::Sequenced;

/// What a message is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    pub message_id: MessageId,
    pub sender: UserId,
    /// What its sender calls it.
    pub client_msg_id: &'a str,
    /// What it says; `None` where it may have been edited or blanked since.
    pub content: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// That of a record.
    pub fn of(record: &'a Sequenced) -> Self {
        Self {
            message_id: record.message_id,
            sender: record.sender_id,
            client_msg_id: &record.client_msg_id,
            content: Some(&record.content),
        }
    }
}

/// Where a message was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Stored = 1,
    Persisted = 2,
}

const FLAGS: u64 = 0b11;
/// 30 bits of a hash of the content; 0: not known.
const CONTENT: u64 = 0xffff_fffc;
/// 32 bits of a hash of the rest.
const REST: u64 = !(FLAGS | CONTENT);

/// Hashes of an identity, and where it was met. 0: the seq was skipped.
#[derive(Debug, Clone, Copy)]
struct Mark(u64);

impl Mark {
    fn new(Identity { message_id, sender, client_msg_id, content }: Identity<'_>) -> Self {
        // Never 0: that has a meaning of its own.
        let rest = (hash_of((message_id, sender, client_msg_id)) & REST).max(1 << 32);
        let content = content.map_or(0, |content| (hash_of(content) & CONTENT).max(1 << 2));
        Self(rest | content)
    }

    fn is_same(self, other: Self) -> bool {
        let contents = [self.0 & CONTENT, other.0 & CONTENT];
        self.0 & REST == other.0 & REST && (contents[0] == contents[1] || contents.contains(&0))
    }
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How an identity fits to what is known of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is the next of its conversation.
    Next,
    /// The same was there before.
    Repeat,
    /// Another message was there before.
    Other,
    /// Seqs before it were skipped; this was the last one.
    Gap(Seq),
    /// Nothing is known of the place: it lies before what is kept, or beyond what was read.
    Unknown,
}

/// The messages of one conversation, from the first that is kept on.
#[derive(Debug)]
pub struct Conversation {
    partition: u32,
    first: Seq,
    marks: Vec<Mark>,
    /// The newest that persist had passed when the audit began.
    pub persisted_to: Seq,
    /// Id and ordinal of the newest.
    pub newest: (MessageId, i64),
    /// First and highest seq met in `persisted-messages`.
    pub in_persisted: Option<(Seq, Seq)>,
}

/// A forged seq must not cost memory: after a wider gap counting starts over.
const GAP_MAX: i64 = 100_000;

impl Conversation {
    pub fn last(&self) -> Seq {
        Seq(self.first.0 + self.marks.len() as i64 - 1)
    }

    /// The partition of the chain topics that it belongs to.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The seqs in `[first, to]` that were not met there.
    pub fn not_met(&self, from: Seq, to: Seq, met: Met) -> impl Iterator<Item = Seq> + '_ {
        let first = self.first.0;
        (from.0.max(first)..=to.0.min(self.last().0))
            .filter(move |seq| {
                let mark = self.marks[(seq - first) as usize].0;
                mark != 0 && mark & met as u64 == 0
            })
            .map(Seq)
    }

    /// How many messages with seqs in `[from, to]` are known.
    pub fn judged_within(&self, from: Seq, to: Seq) -> u64 {
        u64::try_from(to.0.min(self.last().0) - from.0.max(self.first.0) + 1).unwrap_or(0)
    }

    fn place(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.0 - self.first.0).ok().filter(|place| *place < self.marks.len())
    }

    fn mark(&mut self, seq: Seq, identity: Identity<'_>, met: Met) -> Fit {
        let Some(place) = self.place(seq) else { return Fit::Unknown };
        let mark = &mut self.marks[place];
        if mark.0 == 0 {
            return Fit::Unknown;
        }
        let fit = match (mark.is_same(Mark::new(identity)), mark.0 & met as u64 == 0) {
            (false, _) => Fit::Other,
            (true, true) => Fit::Next,
            (true, false) => Fit::Repeat,
        };
        // Another message at its place is told once, not a second time as missing.
        mark.0 |= met as u64;
        fit
    }
}

/// Identities by conversation.
#[derive(Debug, Default)]
pub struct Identities {
    conversations: HashMap<ConversationId, Conversation>,
}

impl Identities {
    /// Takes a record in, in the order of its partition. `from_start`: nothing of the partition was
    /// dropped or left out, so that a conversation must begin with 1.
    pub fn add(&mut self, partition: u32, record: &Sequenced, from_start: bool) -> Fit {
        let (seq, mark) = (record.seq_id, Mark::new(Identity::of(record)));
        let newest = (record.message_id, record.ordinal);
        let mut fit = Fit::Next;
        if let Some(known) = self.conversations.get_mut(&record.conversation_id) {
            let last = known.last();
            if let Some(place) = known.place(seq) {
                return if known.marks[place].is_same(mark) { Fit::Repeat } else { Fit::Other };
            }
            if seq < known.first {
                return Fit::Unknown;
            }
            known.newest = newest;
            let gap = seq.0 - last.0 - 1;
            if gap == 0 {
                known.marks.push(mark);
                return Fit::Next;
            }
            fit = Fit::Gap(last);
            if gap <= GAP_MAX {
                known.marks.extend((0..gap).map(|_| Mark(0)));
                known.marks.push(mark);
                return fit;
            }
        } else if from_start && seq.0 != 1 {
            fit = Fit::Gap(Seq(0));
        }
        let new =
            Conversation { partition, first: seq, marks: vec![mark], persisted_to: Seq(0), newest, in_persisted: None };
        self.conversations.insert(record.conversation_id, new);
        fit
    }

    /// A message was met elsewhere: `Next` for the first time, `Repeat` again, `Other` when it has
    /// another identity there, `Unknown` when nothing is known of it.
    pub fn meet(&mut self, conversation: ConversationId, seq: Seq, identity: Identity<'_>, met: Met) -> Fit {
        self.conversations.get_mut(&conversation).map_or(Fit::Unknown, |known| known.mark(seq, identity, met))
    }

    /// Whether the message of this place has this identity; nothing is noted.
    pub fn compare(&self, conversation: ConversationId, seq: Seq, identity: Identity<'_>) -> Fit {
        let known = self.conversations.get(&conversation);
        let mark = known.and_then(|known| Some(known.marks[known.place(seq)?])).filter(|mark| mark.0 != 0);
        match mark {
            None => Fit::Unknown,
            Some(mark) if mark.is_same(Mark::new(identity)) => Fit::Repeat,
            Some(_) => Fit::Other,
        }
    }

    pub fn get(&self, conversation: ConversationId) -> Option<&Conversation> {
        self.conversations.get(&conversation)
    }

    pub fn get_mut(&mut self, conversation: ConversationId) -> Option<&mut Conversation> {
        self.conversations.get_mut(&conversation)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConversationId, &Conversation)> {
        self.conversations.iter().map(|(id, conversation)| (*id, conversation))
    }
}
