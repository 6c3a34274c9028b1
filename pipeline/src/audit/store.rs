//! The store against `sequenced-messages`, and against itself: `ACKED`, `GAPLESS`, `STABLE` and `WHOLE`.
//!
//! Every message is read once, by id in pages. What seems to be wrong is asked for again before it is
//! called so: the store goes on while it is looked at.

use std::collections::HashMap;

use schemas::avro::Record;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::records::Sequenced;
use schemas::snowflake::first_at;
use stages::invariants::Invariant;
use stages::repo::model::{HistoryRange, Message};
use stages::repo::store::Store;
use topics::catalogue::SEQUENCED;
use topics::log::{Log, StartAt};
use topics::partition::partition_of;
use topics::scan::Scan;

use super::findings::{Findings, Location};
use super::identities::{Fit, Identities, Identity, Met};
use super::scope::{AuditError, Scope};

/// Messages in one page.
const PAGE_MESSAGES: usize = 5_000;
/// Users whose conversations' heads are asked for, one call each.
const USERS_MAX: usize = 100_000;
/// What was stored so long before the audit began must have been sequenced before.
const SETTLED_MS: i64 = 60_000;

/// What is known of a conversation after the scan.
#[derive(Debug, Clone, Copy)]
struct InStore {
    last: Seq,
    newest_sender: UserId,
}

/// The store and what it is compared with.
pub struct StoreAudit<'a> {
    /// Where records are looked up again, for their offsets.
    pub log: &'a dyn Log,
    pub store: &'a dyn Store,
    pub scope: &'a Scope,
    /// The partitions of this pass, and whether nothing of their `sequenced-messages` was dropped.
    pub partitions: &'a HashMap<u32, bool>,
    /// What `sequenced-messages` holds of them.
    pub identities: &'a mut Identities,
    pub findings: &'a mut Findings,
}

impl StoreAudit<'_> {
    pub async fn look(mut self) -> Result<(), AuditError> {
        let partitions = self.log.layout().chain_partitions;
        let mut found: HashMap<ConversationId, InStore> = HashMap::new();
        let mut after = MessageId(self.scope.since_ms.map_or(0, |since| (first_at(since) - 1).max(0)));
        loop {
            let page = self.store.scan(after, PAGE_MESSAGES).await?;
            let Some(newest) = page.last() else { break };
            after = newest.message_id;
            for message in &page {
                let partition = partition_of(message.conversation_id.to_string().as_bytes(), partitions);
                if let Some(&whole) = self.partitions.get(&partition) {
                    self.message(message, whole, &mut found).await?;
                }
            }
        }
        self.missing().await?;
        self.heads(&found).await
    }

    async fn message(
        &mut self,
        message: &Message,
        whole: bool,
        found: &mut HashMap<ConversationId, InStore>,
    ) -> Result<(), AuditError> {
        let (conversation, seq) = (message.conversation_id, message.seq_id);
        self.findings.looked_at(Invariant::Gapless, 1);
        let last = found.get(&conversation).map_or(Seq(0), |known| known.last);
        // Where only a part is looked at, its first message may have any seq.
        let expected = if last.0 == 0 && self.scope.since_ms.is_some() { seq.0 } else { last.0 + 1 };
        if seq.0 > expected && self.is_missing(conversation, Seq(expected), seq).await? {
            let what = format!("the store has seq {seq} of {conversation} next to {last}");
            let location = Location::Stored { conversation, seq };
            self.findings.broken(Invariant::Gapless, location, what);
        }
        let known = InStore { last: last.max(seq), newest_sender: message.sender_id };
        if seq > last {
            found.insert(conversation, known);
        }
        match self.identities.meet(conversation, seq, identity_of(message), Met::Stored) {
            Fit::Other => self.other(message).await?,
            Fit::Unknown => {
                let before = self.identities.get(conversation).map_or(Seq(0), |known| known.last());
                let settled = message.created_at < self.scope.now_ms - SETTLED_MS;
                if whole && settled && seq > before {
                    self.findings.looked_at(Invariant::Stable, 1);
                    let id = message.message_id;
                    let what =
                        format!("the store has message {id} as seq {seq} of {conversation}, which was never sequenced");
                    self.findings.broken(Invariant::Stable, Location::Stored { conversation, seq }, what);
                }
            }
            Fit::Next | Fit::Repeat | Fit::Gap(_) => self.findings.looked_at(Invariant::Stable, 1),
        }
        Ok(())
    }

    /// Whether one of the messages `[from, to)` is in the store no more, and was not removed by the retention. Asked where
    /// none of them was met.
    async fn is_missing(&self, conversation: ConversationId, from: Seq, to: Seq) -> Result<bool, AuditError> {
        if self.store.message_at(conversation, from).await?.is_some() {
            return Ok(false);
        }
        let first = self.store.extent(conversation).await?.first.max(from);
        Ok(first < to && self.store.message_at(conversation, first).await?.is_none())
    }

    /// The store has another message at a place.
    async fn other(&mut self, message: &Message) -> Result<(), AuditError> {
        let (conversation, seq, id) = (message.conversation_id, message.seq_id, message.message_id);
        self.findings.looked_at(Invariant::Stable, 1);
        let first = !self.findings.is_broken(Invariant::Stable);
        let location =
            if first { self.locate(conversation, seq).await? } else { Location::Stored { conversation, seq } };
        let what = format!(
            "the store has message {id} as seq {seq} of {conversation}, and the topic another one, or another text"
        );
        self.findings.broken(Invariant::Stable, location, what);
        Ok(())
    }

    /// `ACKED`: what persist has passed is stored, until the retention removes it.
    async fn missing(&mut self) -> Result<(), AuditError> {
        let (mut missing, mut judged) = (Vec::new(), 0);
        for (conversation, known) in self.identities.iter() {
            let mut first = Seq(1);
            if known.not_met(first, known.persisted_to, Met::Stored).next().is_some() {
                first = self.store.extent(conversation).await?.first;
            }
            let all = known.not_met(first, known.persisted_to, Met::Stored);
            missing.extend(all.map(|seq| (conversation, seq)));
            judged += known.judged_within(first, known.persisted_to);
        }
        self.findings.looked_at(Invariant::Acked, judged);
        missing.sort_unstable();
        for (conversation, seq) in missing {
            if let Some(message) = self.store.message_at(conversation, seq).await? {
                if self.identities.compare(conversation, seq, identity_of(&message)) == Fit::Other {
                    self.other(&message).await?;
                }
                continue; // Its id is out of order, or it lies before the part that was looked at.
            }
            if self.store.extent(conversation).await?.lost(seq) {
                continue; // Removed just now.
            }
            let first = !self.findings.is_broken(Invariant::Acked);
            let location =
                if first { self.locate(conversation, seq).await? } else { Location::Stored { conversation, seq } };
            let what = format!("persist has passed seq {seq} of {conversation}, and the store does not have it");
            self.findings.broken(Invariant::Acked, location, what);
        }
        Ok(())
    }

    /// `WHOLE`: a conversation's last seq, as clients are told it, is that of its newest message.
    async fn heads(&mut self, found: &HashMap<ConversationId, InStore>) -> Result<(), AuditError> {
        let mut by_user: HashMap<UserId, Vec<ConversationId>> = HashMap::new();
        for (conversation, known) in found {
            by_user.entry(known.newest_sender).or_default().push(*conversation);
        }
        if by_user.len() > USERS_MAX {
            let why = format!("heads in the store are compared for {USERS_MAX} of {} users", by_user.len());
            self.findings.note(Invariant::Whole, why);
        }
        for (user, conversations) in by_user.into_iter().take(USERS_MAX) {
            let heads = self.heads_of(user).await?;
            for conversation in conversations {
                // Who has left a group no longer has its conversation.
                let Some(&head) = heads.get(&conversation) else { continue };
                self.findings.looked_at(Invariant::Whole, 1);
                if found.get(&conversation).is_some_and(|known| known.last == head) {
                    continue;
                }
                let newest = self.store.history(conversation, HistoryRange::Newest, Seq(1), 1).await?;
                let newest = newest.messages.last().map_or(Seq(0), |message| message.seq_id);
                let later = self.heads_of(user).await?.get(&conversation).copied().unwrap_or(head);
                let removed = newest.0 == 0 && self.store.extent(conversation).await?.lost(head);
                if !removed && (newest < head || newest > later) {
                    let location = Location::Stored { conversation, seq: newest };
                    let what =
                        format!("the store says that {conversation} ends with seq {later}, and has up to {newest}");
                    self.findings.broken(Invariant::Whole, location, what);
                }
            }
        }
        Ok(())
    }

    async fn heads_of(&self, user: UserId) -> Result<HashMap<ConversationId, Seq>, AuditError> {
        Ok(self.store.heads(user, 0, usize::MAX).await?.into_iter().collect())
    }

    /// The record of a message in `sequenced-messages`.
    async fn locate(&self, conversation: ConversationId, seq: Seq) -> Result<Location, AuditError> {
        let topic = &SEQUENCED.spec;
        let partition = partition_of(conversation.to_string().as_bytes(), self.log.layout().chain_partitions);
        let end = self.log.bounds(topic, partition).await?.end;
        let mut scan = Scan::open(self.log, topic, partition, StartAt::Earliest, end).await?;
        while let Some(batch) = scan.next().await? {
            for record in batch.records {
                let message = Sequenced::decode(&record.value);
                if message.is_ok_and(|message| message.conversation_id == conversation && message.seq_id == seq) {
                    return Ok(Location::record(topic, partition, record.offset));
                }
            }
        }
        Ok(Location::Stored { conversation, seq })
    }
}

fn identity_of(message: &Message) -> Identity<'_> {
    let Message { message_id, sender_id: sender, client_msg_id, edited_at, recalled, target_seq, .. } = message;
    // What is about another message is blanked with it.
    let blanked = target_seq.is_some() && message.content.is_empty();
    let as_said = edited_at.is_none() && !recalled && !blanked;
    let content = as_said.then_some(message.content.as_str());
    Identity { message_id: *message_id, sender: *sender, client_msg_id, content }
}
