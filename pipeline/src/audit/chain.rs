//! One partition of the chain, topic by topic: `GAPLESS`, `STABLE`, `ORDER`, `WHOLE` and `ARRIVES` from
//! `sequenced-messages` on to `persisted-messages`.

use std::collections::HashMap;

use schemas::avro::Record;
use schemas::ids::{ConversationId, Seq};
use schemas::records::{Head, Sequenced};
use stages::invariants::Invariant;
use topics::catalogue::{HEADS, PERSISTED, SEQUENCED, TopicSpec};
use topics::log::{Incoming, Log, LogError, StartAt};
use topics::scan::Scan;

use super::findings::{Findings, Location};
use super::identities::{Fit, Identities, Identity, Met};
use super::scope::{Positions, Scope};
use super::upstream::Origins;
use crate::topology::{DEDUPE, ID_ASSIGN, PERSIST};

/// Where a scan of a topic starts, and whether that is its very beginning.
async fn start(
    log: &dyn Log,
    topic: &'static TopicSpec,
    partition: u32,
    scope: &Scope,
) -> Result<(Scan, bool), LogError> {
    let end = log.bounds(topic, partition).await?.end;
    let scan = Scan::open(log, topic, partition, scope.from(), end).await?;
    let whole = scan.position() == 0;
    Ok((scan, whole))
}

/// Audits a partition. The positions were taken before: everything below them has been processed.
pub async fn look(
    log: &dyn Log,
    partition: u32,
    scope: &Scope,
    positions: &Positions,
    identities: &mut Identities,
    findings: &mut Findings,
) -> Result<(), LogError> {
    // The order matters: the end of an output is taken after its input's positions, and that of upstream
    // after that of sequenced, so that what is under way is never taken for lost.
    let (mut sequenced, whole) = start(log, &SEQUENCED.spec, partition, scope).await?;
    let mut origins = Origins::open(
        log,
        partition,
        scope.from(),
        positions.of(&DEDUPE, partition).unwrap_or(0),
        scope.dedupe_window_ms,
    )
    .await?;
    let persisted_to = positions.of(&PERSIST, partition).unwrap_or(0);
    let mut messages = Messages { partition, whole, persisted_to, identities, findings };
    while let Some(batch) = sequenced.next().await? {
        let newest_ms = batch.records.last().map_or(i64::MIN, |record| record.time_ms);
        origins.read_until(newest_ms, messages.findings).await?;
        for record in &batch.records {
            if let Some(message) = messages.take_in(record) {
                origins.message(&message, record.offset, record.time_ms, messages.findings);
            }
        }
    }
    let before_heads = newest_seqs(messages.identities, partition);
    let id_assign = positions.of(&ID_ASSIGN, partition);
    origins.finish(log, id_assign, whole, messages.findings).await?;

    let heads = read_heads(log, partition).await?;
    let (mut persisted, persisted_whole) = start(log, &PERSISTED.spec, partition, scope).await?;
    // Read what was appended meanwhile, before heads and persisted messages are compared with it.
    sequenced.extend_to(log.bounds(&SEQUENCED.spec, partition).await?.end);
    while let Some(batch) = sequenced.next().await? {
        batch.records.iter().for_each(|record| {
            messages.take_in(record);
        });
    }
    if !whole {
        let why = "older records of sequenced-messages are dropped, or were left out: those are not looked at";
        for invariant in [Invariant::Gapless, Invariant::Stable, Invariant::Whole] {
            messages.findings.note(invariant, why);
        }
    }
    compare_heads(partition, &heads, &before_heads, identities, findings);
    while let Some(batch) = persisted.next().await? {
        batch.records.iter().for_each(|record| passed_on(partition, record, identities, findings));
    }
    if scope.fuse.persist_and_fan_out {
        let why = "persist and fan-out share a task: what persist has passed is looked for in the store only";
        findings.note(Invariant::Arrives, why);
    } else {
        passed_over(partition, persisted_whole, identities, findings);
    }
    Ok(())
}

/// What `sequenced-messages` holds of a partition.
struct Messages<'a> {
    partition: u32,
    whole: bool,
    persisted_to: u64,
    identities: &'a mut Identities,
    findings: &'a mut Findings,
}

impl Messages<'_> {
    /// Notes a message; gives it back unless it was there before.
    fn take_in(&mut self, record: &Incoming) -> Option<Sequenced> {
        let message = Sequenced::decode(&record.value).ok()?;
        if !message.kind.rules().sequenced {
            return None;
        }
        self.findings.looked_at(Invariant::Gapless, 1);
        let location = Location::record(&SEQUENCED.spec, self.partition, record.offset);
        let (conversation, seq) = (message.conversation_id, message.seq_id);
        let fit = self.identities.add(self.partition, &message, self.whole);
        if record.offset < self.persisted_to
            && let Some(known) = self.identities.get_mut(conversation)
        {
            known.persisted_to = known.persisted_to.max(seq);
        }
        match fit {
            Fit::Next => {}
            Fit::Repeat | Fit::Unknown => return None,
            Fit::Gap(last) => {
                let what = format!("{conversation} has seq {seq} next to {last}");
                self.findings.broken(Invariant::Gapless, location, what);
            }
            Fit::Other => {
                let what =
                    format!("seq {seq} of {conversation} is of two messages, the second is {}", message.message_id);
                self.findings.broken(Invariant::Gapless, location, what);
            }
        }
        Some(message)
    }
}

fn newest_seqs(identities: &Identities, partition: u32) -> HashMap<ConversationId, Seq> {
    let of_partition = identities.iter().filter(|(_, known)| known.partition() == partition);
    of_partition.map(|(conversation, known)| (conversation, known.last())).collect()
}

async fn read_heads(log: &dyn Log, partition: u32) -> Result<HashMap<ConversationId, (u64, Head)>, LogError> {
    let end = log.bounds(&HEADS.spec, partition).await?.end;
    let mut scan = Scan::open(log, &HEADS.spec, partition, StartAt::Earliest, end).await?;
    let mut heads = HashMap::new();
    while let Some(batch) = scan.next().await? {
        for record in batch.records {
            if let Ok(head) = Head::decode(&record.value) {
                heads.insert(head.conversation_id, (record.offset, head));
            }
        }
    }
    Ok(heads)
}

/// `WHOLE`: a conversation's head is its newest message. The heads were read between two looks at the
/// messages: they are not behind the first, nor ahead of the second.
fn compare_heads(
    partition: u32,
    heads: &HashMap<ConversationId, (u64, Head)>,
    before: &HashMap<ConversationId, Seq>,
    identities: &Identities,
    findings: &mut Findings,
) {
    for (&conversation, &at_least) in before {
        let Some(known) = identities.get(conversation) else { continue };
        findings.looked_at(Invariant::Whole, 1);
        let Some((offset, head)) = heads.get(&conversation) else {
            let what = format!("{conversation} has messages up to seq {at_least}, and no head");
            findings.broken(Invariant::Whole, Location::Topic(&HEADS.spec), what);
            continue;
        };
        let location = Location::record(&HEADS.spec, partition, *offset);
        let (seq, last) = (head.seq_id, known.last());
        if seq < at_least || seq > last {
            let what = format!("the head of {conversation} is seq {seq}, and its newest message seq {last}");
            findings.broken(Invariant::Whole, location, what);
        } else if seq == last && (head.message_id, head.ordinal) != known.newest {
            let (id, ordinal) = known.newest;
            let what = format!(
                "the head of {conversation} is message {} with ordinal {}, and its newest message is {id} with {ordinal}",
                head.message_id, head.ordinal
            );
            findings.broken(Invariant::Whole, location, what);
        }
    }
}

/// `STABLE` and `ORDER` of a record of `persisted-messages`.
fn passed_on(partition: u32, record: &Incoming, identities: &mut Identities, findings: &mut Findings) {
    let Ok(message) = Sequenced::decode(&record.value) else { return };
    if !message.kind.rules().sequenced {
        return;
    }
    let (conversation, seq) = (message.conversation_id, message.seq_id);
    let location = Location::record(&PERSISTED.spec, partition, record.offset);
    let fit = identities.meet(conversation, seq, Identity::of(&message), Met::Persisted);
    findings.looked_at(Invariant::Stable, u64::from(fit != Fit::Unknown));
    match fit {
        Fit::Unknown => return,
        Fit::Other => {
            let what = format!(
                "seq {seq} of {conversation} is message {}, and another one in sequenced-messages",
                message.message_id
            );
            findings.broken(Invariant::Stable, location, what);
            return;
        }
        Fit::Next | Fit::Repeat | Fit::Gap(_) => {}
    }
    let Some(known) = identities.get_mut(conversation) else { return };
    findings.looked_at(Invariant::Order, 1);
    let (first, highest) = known.in_persisted.unwrap_or((seq, Seq(seq.0 - 1)));
    if fit == Fit::Next && seq < highest && seq > first {
        let what = format!("seq {seq} of {conversation} comes first behind seq {highest}");
        findings.broken(Invariant::Order, location, what);
    }
    known.in_persisted = Some((first, highest.max(seq)));
}

/// `ARRIVES`: what persist has passed is in `persisted-messages`; what is not never reaches fan-out.
fn passed_over(partition: u32, whole: bool, identities: &Identities, findings: &mut Findings) {
    for (conversation, known) in identities.iter().filter(|(_, known)| known.partition() == partition) {
        // Where older records were dropped, only what follows the first one that is there can be judged.
        let first = match known.in_persisted {
            Some((first, _)) => first,
            None if whole => Seq(1),
            None => continue,
        };
        let highest = known.in_persisted.map_or(Seq(0), |(_, highest)| highest);
        let to = known.persisted_to.max(highest);
        findings.looked_at(Invariant::Arrives, u64::try_from(to.0 - first.0 + 1).unwrap_or(0));
        for seq in known.not_met(first, to, Met::Persisted) {
            let what = format!(
                "persist has passed seq {seq} of {conversation}, and it is not in persisted-messages (if persist and \
                 fan-out shared a task then, check with --since a later time)"
            );
            findings.broken(Invariant::Arrives, Location::Topic(&PERSISTED.spec), what);
        }
    }
}
