//! `downstream-deliveries`: what each recipient is sent on a slot comes in the order of its seqs, and
//! under the identity that the message has.

use std::collections::HashMap;

use schemas::avro::Record;
use schemas::ids::{ConversationId, Seq, UserId};
use schemas::records::Delivery;
use stages::invariants::Invariant;
use topics::catalogue::DELIVERIES;
use topics::log::{Log, LogError};
use topics::partition::partition_of;
use topics::scan::Scan;

use super::findings::{Findings, Location};
use super::identities::{Fit, Identities, Identity};
use super::scope::Scope;

/// Recipients, by conversation, that are followed on one slot; further ones are not judged.
const FOLLOWED_MAX: usize = 1_000_000;
/// How far behind the newest a seq is known to have come.
const SEEN_SEQS: i64 = 64;

/// What a recipient got of a conversation.
#[derive(Debug, Clone, Copy)]
struct Received {
    first: Seq,
    highest: Seq,
    /// Bit n: the seq n below the highest has come.
    seen: u64,
}

/// Looks at every slot, at the conversations of these partitions.
pub async fn look(
    log: &dyn Log,
    scope: &Scope,
    partitions: &HashMap<u32, bool>,
    identities: &Identities,
    findings: &mut Findings,
) -> Result<(), LogError> {
    let chain_partitions = log.layout().chain_partitions;
    let in_this_pass = |conversation: ConversationId| {
        partitions.len() == chain_partitions as usize
            || partitions.contains_key(&partition_of(conversation.to_string().as_bytes(), chain_partitions))
    };
    for slot in 0..log.layout().partitions(&DELIVERIES.spec) {
        let end = log.bounds(&DELIVERIES.spec, slot).await?.end;
        let mut scan = Scan::open(log, &DELIVERIES.spec, slot, scope.from(), end).await?;
        let mut followed: HashMap<(i64, UserId, ConversationId), Received> = HashMap::new();
        while let Some(batch) = scan.next().await? {
            for record in &batch.records {
                let Ok(delivery) = Delivery::decode(&record.value) else { continue };
                let (message, location) = (&delivery.message, Location::record(&DELIVERIES.spec, slot, record.offset));
                if !message.kind.rules().sequenced || !in_this_pass(message.conversation_id) {
                    continue;
                }
                let (conversation, seq) = (message.conversation_id, message.seq_id);
                match identities.compare(conversation, seq, Identity::of(message)) {
                    Fit::Unknown => {}
                    Fit::Other => {
                        let what = format!(
                            "seq {seq} of {conversation} is message {}, and another one in sequenced-messages",
                            message.message_id
                        );
                        findings.looked_at(Invariant::Stable, 1);
                        findings.broken(Invariant::Stable, location.clone(), what);
                    }
                    Fit::Next | Fit::Repeat | Fit::Gap(_) => findings.looked_at(Invariant::Stable, 1),
                }
                // No recipients: everybody on the slot.
                let everybody = [UserId(0)];
                let recipients = if delivery.recipients.is_empty() { &everybody[..] } else { &delivery.recipients };
                for &user in recipients {
                    let key = (delivery.epoch, user, conversation);
                    if followed.len() >= FOLLOWED_MAX && !followed.contains_key(&key) {
                        findings.note(Invariant::Order, "a slot has more recipients than are followed");
                        continue;
                    }
                    findings.looked_at(Invariant::Order, 1);
                    let known = followed.entry(key).or_insert(Received { first: seq, highest: seq, seen: 0 });
                    if let Some(highest) = known.receive(seq) {
                        let what = format!(
                            "user {user} is sent seq {seq} of {conversation} for the first time behind seq {highest}"
                        );
                        findings.broken(Invariant::Order, location.clone(), what);
                    }
                }
            }
        }
    }
    Ok(())
}

impl Received {
    /// Notes a seq; when it comes for the first time behind a higher one, returns that.
    fn receive(&mut self, seq: Seq) -> Option<Seq> {
        let ahead = seq.0 - self.highest.0;
        if ahead > 0 {
            self.seen = if ahead < SEEN_SEQS { self.seen << ahead } else { 0 } | 1;
            self.highest = seq;
            return None;
        }
        let bit = if -ahead < SEEN_SEQS { 1 << -ahead } else { return None };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        // Below the first: a batch that was worked again, after the recipient came online.
        (new && ahead < 0 && seq > self.first).then_some(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_no_disorder_but_a_late_first_is() {
        let mut received = Received { first: Seq(5), highest: Seq(5), seen: 0 };
        for seq in [5, 6, 7, 5, 6, 7, 4, 9, 200] {
            assert_eq!(received.receive(Seq(seq)), None, "{seq}");
        }
        assert_eq!(received.receive(Seq(199)), Some(Seq(200)));
        assert_eq!(received.receive(Seq(199)), None, "now it is a repeat");
        assert_eq!(received.receive(Seq(8)), None, "too far behind to be known");
    }
}
