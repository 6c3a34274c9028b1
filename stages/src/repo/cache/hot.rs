//! Runs of a conversation's newest messages, with edits and recalls applied.
//!
//! Messages are cached as the chain wrote them; edits and recalls are applied when they are read. An edit
//! or recall has a higher seq than its target, so a run without a gap from a message to the head contains
//! every change of the message, in whatever order the entries were cached. A row read from the store
//! already includes some of its changes; applying them again changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::ids::{MessageId, Seq};
use schemas::kind::{EventClass, Kind};
use schemas::records::Sequenced;

use crate::repo::model::{HistoryPage, HistoryRange, Message};

/// Messages of a conversation that are kept at most, the newest: where somebody has read so far back.
pub const HOT_MESSAGES_MAX: usize = 300;
/// Messages of a conversation that are kept where nobody has read further back: the newest page, of 50,
/// which is what nearly every reader asks for, and a little before it. With 300 of each, a few busy
/// conversations take the room of thousands: `bench cache --redis URL` had 88 % hits with them, and
/// has 97 % with 64.
pub const KEPT_MESSAGES: usize = 64;

/// Messages of one conversation without a gap, up to its newest.
#[derive(Debug, Clone)]
pub struct Run(Vec<Arc<Sequenced>>);

impl Run {
    /// A run, if the messages have no gap and cover `[from, head]`.
    pub fn of(messages: Vec<Arc<Sequenced>>, from: Seq, head: Seq) -> Option<Self> {
        let begins = messages.first()?.seq_id <= from;
        let reaches = messages.last()?.seq_id >= head;
        let whole = messages.windows(2).all(|pair| pair[1].seq_id.0 == pair[0].seq_id.0 + 1);
        (begins && reaches && whole).then_some(Self(messages))
    }

    /// A page of the history, as [`Store::history`](crate::repo::store::Store::history) gives it. Messages before
    /// `kept_from` were removed.
    ///
    /// # Errors
    /// [`BeyondRun`] when it takes older messages to tell.
    pub fn page(
        &self,
        range: HistoryRange,
        first: Seq,
        limit: usize,
        kept_from: Seq,
    ) -> Result<HistoryPage, BeyondRun> {
        let last_seq = self.0.last().map_or(Seq(0), |message| message.seq_id);
        let page = |messages, has_more| HistoryPage { messages, has_more, first_seq: kept_from, last_seq };
        let Some(span) = Span::of(range, first.max(kept_from), limit, last_seq) else {
            return Ok(page(Vec::new(), false));
        };
        Ok(page(self.as_now(span, kept_from)?, span.has_more))
    }

    fn as_now(&self, span: Span, kept_from: Seq) -> Result<Vec<Message>, BeyondRun> {
        let (from, to) = (self.index(span.from), self.index(span.to));
        let (Some(from), Some(to)) = (from, to) else { return Err(BeyondRun(span.from)) };
        let mut page: Vec<_> = self.0[from..=to].iter().map(|message| message_of(message)).collect();
        let mut recalled = HashSet::new();
        for change in &self.0 {
            let Some(target) = self.target_of(change) else { continue };
            let place = target.checked_sub(from).and_then(|place| page.get_mut(place));
            match change.kind.class() {
                EventClass::Recall => {
                    recalled.insert(target);
                    if let Some(message) = place {
                        message.content.clear();
                        message.recalled = true;
                    }
                }
                EventClass::Edit if recalled.contains(&target) => {}
                EventClass::Edit => {
                    if let Some(message) = place {
                        message.content = change.content.to_string();
                        message.edited_at = Some(change.created_at);
                    }
                }
                EventClass::Message | EventClass::Reaction | EventClass::System => {}
            }
        }
        self.withhold(&mut page, &recalled, kept_from)?;
        Ok(page)
    }

    /// The index of the message that a change applies to: an earlier text, image or file of the same sender.
    fn target_of(&self, change: &Sequenced) -> Option<usize> {
        let target = change.target_seq.filter(|&target| target < change.seq_id)?;
        let index = self.index(target)?;
        let message = &self.0[index];
        let said = matches!(message.kind, Kind::Text | Kind::Image | Kind::File);
        (said && message.sender_id == change.sender_id).then_some(index)
    }

    /// What an edit said is withheld once its target is recalled; what an edit or a reaction said, once its target is
    /// removed.
    fn withhold(&self, page: &mut [Message], recalled: &HashSet<usize>, kept_from: Seq) -> Result<(), BeyondRun> {
        let start = self.0.first().map_or(Seq(0), |message| message.seq_id);
        for message in page.iter_mut().filter(|message| matches!(message.kind, Kind::Edit | Kind::Reaction)) {
            let Some(target) = message.target_seq.filter(|&target| target > Seq(0)) else { continue };
            if target < kept_from {
                message.content.clear();
                continue;
            }
            if message.kind == Kind::Reaction {
                continue;
            }
            if target < start {
                return Err(BeyondRun(target));
            }
            let index = self.index(target).filter(|index| recalled.contains(index));
            if index.is_some_and(|index| self.0[index].sender_id == message.sender_id) {
                message.content.clear();
            }
        }
        Ok(())
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        let start = self.0.first()?.seq_id;
        let index = usize::try_from(seq.0.checked_sub(start.0)?).ok()?;
        (index < self.0.len()).then_some(index)
    }
}

/// The page needs messages from this seq on, which is before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondRun(pub Seq);

/// The seqs of a page, in a conversation without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Seq,
    pub to: Seq,
    /// More lie beyond, in the direction asked for.
    pub has_more: bool,
}

impl Span {
    /// Of a conversation whose newest seq is `last`, for a reader who reads from `first` on. `None`:
    /// the page is empty.
    pub fn of(range: HistoryRange, first: Seq, limit: usize, last: Seq) -> Option<Self> {
        let first = first.0.max(1);
        let further = i64::try_from(limit).unwrap_or(i64::MAX).checked_sub(1).filter(|further| *further >= 0)?;
        let (from, to) = match range {
            HistoryRange::Newest => (last.0.saturating_sub(further).max(first), last.0),
            HistoryRange::Before(seq) => {
                let to = last.0.min(seq.0.saturating_sub(1));
                (to.saturating_sub(further).max(first), to)
            }
            HistoryRange::After(seq) => {
                let from = seq.0.saturating_add(1).max(first);
                (from, last.0.min(from.saturating_add(further)))
            }
        };
        let has_more = match range {
            HistoryRange::Newest | HistoryRange::Before(_) => from > first,
            HistoryRange::After(_) => to < last.0,
        };
        (from <= to).then_some(Self { from: Seq(from), to: Seq(to), has_more })
    }
}

/// A message as the chain wrote it.
fn message_of(record: &Sequenced) -> Message {
    Message {
        conversation_id: record.conversation_id,
        message_id: record.message_id,
        seq_id: record.seq_id,
        sender_id: record.sender_id,
        kind: record.kind.clone(),
        content: record.content.to_string(),
        client_msg_id: record.client_msg_id.to_string(),
        created_at: record.created_at,
        target_seq: record.target_seq,
        remove: record.remove,
        edited_at: None,
        recalled: false,
    }
}

/// A message of the store as a record. What it lost by that, when it was edited and that it was
/// recalled, the edits and recalls behind it in the run give back. Nothing here needs its ordinal.
pub fn record_of(message: Message) -> Sequenced {
    Sequenced {
        message_id: message.message_id,
        seq_id: message.seq_id,
        ordinal: 0,
        created_at: message.created_at,
        conversation_id: message.conversation_id,
        sender_id: message.sender_id,
        client_msg_id: message.client_msg_id.into(),
        kind: message.kind,
        content: message.content.into(),
        target_seq: message.target_seq,
        remove: message.remove,
    }
}

/// Whether a record has a place in a conversation's history.
pub fn has_place(record: &Sequenced) -> bool {
    let rules = record.kind.rules();
    rules.stored && rules.sequenced && record.seq_id > Seq(0) && record.message_id > MessageId(0)
}

/// Where messages come from that are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The chain has just stored them.
    Chain,
    /// The store, where somebody reads them.
    Store,
}

impl Source {
    /// How many messages of a conversation are kept from now on, unless more are already.
    pub fn kept_least(self, part: usize) -> usize {
        match self {
            Self::Chain => KEPT_MESSAGES,
            Self::Store => part.clamp(KEPT_MESSAGES, HOT_MESSAGES_MAX),
        }
    }
}

/// Merges a part without a gap into a run. The newest messages stay: as many as the run had, or as the
/// source asks for. A part that does not touch the run replaces it if it is newer, and is ignored if it is
/// older.
pub fn merged(run: &[Arc<Sequenced>], part: &[Arc<Sequenced>], source: Source) -> Vec<Arc<Sequenced>> {
    let kept = run.len().max(source.kept_least(part.len()));
    let newest = |messages| newest(messages, kept);
    let (Some(part_first), Some(part_last)) = (part.first(), part.last()) else { return run.to_vec() };
    let (Some(run_first), Some(run_last)) = (run.first(), run.last()) else { return newest(part.to_vec()) };
    let (part_first, part_last) = (part_first.seq_id.0, part_last.seq_id.0);
    if part_first > run_last.seq_id.0 + 1 {
        return newest(part.to_vec());
    }
    if part_last < run_first.seq_id.0 - 1 {
        return run.to_vec();
    }
    let before = run.iter().take_while(|message| message.seq_id.0 < part_first);
    let after = run.iter().skip_while(|message| message.seq_id.0 <= part_last);
    newest(before.chain(part).chain(after).cloned().collect())
}

/// The part of a run from a seq on.
pub fn from(run: &[Arc<Sequenced>], seq: Seq) -> &[Arc<Sequenced>] {
    &run[run.partition_point(|message| message.seq_id < seq)..]
}

fn newest(mut messages: Vec<Arc<Sequenced>>, kept: usize) -> Vec<Arc<Sequenced>> {
    let too_many = messages.len().saturating_sub(kept);
    messages.drain(..too_many);
    messages
}

/// Splits a batch by conversation. Each part is sorted by seq, without repeats: the newest stretch without a gap.
pub fn parts<'a>(batch: &[&'a Sequenced]) -> Vec<Vec<&'a Sequenced>> {
    let mut placed: Vec<_> = batch.iter().copied().filter(|record| has_place(record)).collect();
    placed.sort_by_key(|record| (record.conversation_id, record.seq_id));
    placed.dedup_by_key(|record| (record.conversation_id, record.seq_id));
    let of_one = placed.chunk_by(|a, b| a.conversation_id == b.conversation_id);
    let newest = of_one.filter_map(|part| part.chunk_by(|a, b| b.seq_id.0 == a.seq_id.0 + 1).next_back());
    newest.map(<[_]>::to_vec).collect()
}
