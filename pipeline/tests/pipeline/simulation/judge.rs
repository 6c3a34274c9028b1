//! Judges a schedule from outside: by what is in the topics and in the store, and what clients were
//! answered. It knows the rules that GoChat promises and nothing of how stages keep them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use schemas::avro::Record;
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{Delivery, GroupEvent, Sequenced, Upstream};
use stages::invariants::{
    ARRIVES_MS_MAX, Due, Finding, Held, Invariant, Key, Seen, check_acked, check_arrives, check_gapless, check_once,
    check_order, check_stable,
};
use topics::catalogue::{DEAD_LETTERS, DELIVERIES, SEQUENCED, UPSTREAM};
use topics::log::Incoming;

use super::broker::Broker;
use super::scene::{EPOCH, LARGE, SMALL, USERS, WINDOW_MS, slot_of};

/// Name of the header that tells the copies of a message apart.
pub const COPY_HEADER: &str = "copy";

/// A copy of a message in `upstream-messages`.
struct Copy {
    id: u64,
    time_ms: i64,
    message: Upstream,
}

/// A message in `sequenced-messages` and the copy that it was made from.
struct Made {
    copy: u64,
    message: Sequenced,
}

/// Judges all that is left of a schedule.
pub fn judge(broker: &Broker, stored: &[Sequenced], acked: &[Key]) -> Vec<Finding> {
    let copies = each(&broker.everything(&UPSTREAM.spec), |record| {
        let message = Upstream::decode(&record.value).expect("clients append messages");
        Copy { id: copy_of(record), time_ms: record.time_ms, message }
    });
    let made = each(&broker.everything(&SEQUENCED.spec), |record| {
        let message = Sequenced::decode(&record.value).expect("what was sequenced can be read");
        Made { copy: copy_of(record), message }
    });
    let appended: HashMap<u64, i64> = copies.iter().flatten().map(|copy| (copy.id, copy.time_ms)).collect();
    let sequenced = || made.iter().flatten().filter(|made| made.message.kind.rules().sequenced);
    let in_log: Vec<Held> = sequenced().map(|made| held(&made.message, appended[&made.copy])).collect();
    let in_store: Vec<Held> = stored.iter().map(|message| held(message, message.created_at)).collect();
    let (mut seen, delivered) = seen_by_clients(broker);
    let due = due_to_clients(stored);
    // Of what was said before a user entered a group, some may come, late too: to a client it is a repeat.
    let is_due: HashSet<_> = due.iter().map(|due| (due.client, due.conversation, due.seq)).collect();
    seen.retain(|seen| is_due.contains(&(seen.client, seen.conversation, seen.seq)));
    vec![
        check_acked(acked, &in_store),
        no_dead_letters(broker, in_log.len()),
        check_once(&in_log, WINDOW_MS),
        each_message_from_its_first_copy(&copies, &made),
        check_gapless(&in_log),
        check_gapless(&in_store),
        check_stable(&in_log, &in_store),
        check_stable(&delivered, &in_store),
        check_order(&log_order(sequenced().map(|made| &made.message))),
        check_order(&seen),
        check_arrives(&due, &seen, ARRIVES_MS_MAX + 1),
    ]
}

fn each<T>(partitions: &[Vec<Incoming>], read: impl Fn(&Incoming) -> T) -> Vec<Vec<T>> {
    partitions.iter().map(|records| records.iter().map(&read).collect()).collect()
}

fn copy_of(record: &Incoming) -> u64 {
    let header = record.headers.other.iter().find(|(name, _)| &**name == COPY_HEADER);
    let bytes: &[u8] = &header.expect("headers travel with a message").1;
    u64::from_be_bytes(bytes.try_into().expect("a copy's number has 8 bytes"))
}

fn held(message: &Sequenced, time_ms: i64) -> Held {
    let key = Key {
        conversation: message.conversation_id,
        sender: message.sender_id,
        client_msg_id: message.client_msg_id.clone(),
    };
    Held { key, seq: message.seq_id, message_id: message.message_id, time_ms }
}

/// After the ack nothing is set aside.
fn no_dead_letters(broker: &Broker, looked_at: usize) -> Finding {
    let dead = broker.everything(&DEAD_LETTERS.spec).into_iter().flatten().count();
    let counterexample = (dead > 0).then(|| format!("{dead} messages lie in dead-letters"));
    Finding { invariant: Invariant::Acked, looked_at, counterexample }
}

/// The messages that were made are exactly those that the window asks for, from the copy it asks for, in
/// the order of the copies.
fn each_message_from_its_first_copy(copies: &[Vec<Copy>], made: &[Vec<Made>]) -> Finding {
    let mut looked_at = 0;
    for (partition, (copies, made)) in copies.iter().zip(made).enumerate() {
        let mut newest: HashMap<(ConversationId, UserId, &str), i64> = HashMap::new();
        let expected = copies.iter().filter(|copy| {
            let message = &copy.message;
            if message.client_msg_id.is_empty() {
                return true;
            }
            let key = (message.conversation_id, message.sender_id, &*message.client_msg_id);
            let first = newest.get(&key).is_none_or(|before| copy.time_ms - before > WINDOW_MS);
            if first {
                newest.insert(key, copy.time_ms);
            }
            first
        });
        let expected: Vec<u64> = expected.map(|copy| copy.id).collect();
        let came: Vec<u64> = made.iter().map(|made| made.copy).collect();
        looked_at += came.len();
        if let Some((invariant, what)) = difference(&expected, &came) {
            let counterexample = Some(format!("partition {partition}: {what}"));
            return Finding { invariant, looked_at, counterexample };
        }
    }
    Finding { invariant: Invariant::Once, looked_at, counterexample: None }
}

fn difference(expected: &[u64], came: &[u64]) -> Option<(Invariant, String)> {
    let wanted: HashSet<u64> = expected.iter().copied().collect();
    let mut seen = HashSet::new();
    if let Some(copy) = came.iter().find(|copy| !wanted.contains(copy) || !seen.insert(**copy)) {
        return Some((Invariant::Once, format!("copy {copy} was made a message although it is a repeat, or twice")));
    }
    if let Some(copy) = expected.iter().find(|copy| !seen.contains(copy)) {
        return Some((
            Invariant::Acked,
            format!("copy {copy} is a message's first within the window and was not made one"),
        ));
    }
    let (copy, other) = expected.iter().zip(came).find(|(copy, other)| copy != other)?;
    Some((Invariant::Order, format!("copy {other} was made a message before copy {copy}, which lies before it")))
}

/// A reader of the log sees seqs rise too.
fn log_order<'a>(messages: impl Iterator<Item = &'a Sequenced>) -> Vec<Seen> {
    let seen = |message: &Sequenced| Seen {
        client: 0,
        conversation: message.conversation_id,
        seq: message.seq_id,
        time_ms: 0,
    };
    messages.map(seen).collect()
}

/// What each user's client takes for new: a gateway sends what is addressed to its epoch, and a seq that
/// came before is recognised. With it, every message that was delivered.
fn seen_by_clients(broker: &Broker) -> (Vec<Seen>, Vec<Held>) {
    let (mut seen, mut delivered) = (Vec::new(), Vec::new());
    let mut known: HashSet<(UserId, ConversationId, Seq)> = HashSet::new();
    for (slot, records) in (0..).zip(broker.everything(&DELIVERIES.spec)) {
        for record in records {
            let Delivery { epoch, recipients, message } =
                Delivery::decode(&record.value).expect("what is delivered can be read");
            if epoch != EPOCH || !message.kind.rules().sequenced {
                continue;
            }
            let everybody = || (1..=USERS).map(UserId).filter(|user| slot_of(*user) == slot).collect();
            let users: Vec<UserId> = if recipients.is_empty() { everybody() } else { recipients };
            for user in users.into_iter().filter(|user| slot_of(*user) == slot) {
                let (conversation, seq) = (message.conversation_id, message.seq_id);
                if known.insert((user, conversation, seq)) {
                    seen.push(Seen { client: user.0.cast_unsigned(), conversation, seq, time_ms: 0 });
                }
            }
            delivered.push(held(&message, 0));
        }
    }
    (seen, delivered)
}

/// What each user is to get of all that is stored. Who enters a group gets all from the event on.
fn due_to_clients(stored: &[Sequenced]) -> Vec<Due> {
    let mut entered: BTreeMap<(GroupId, UserId), Seq> = BTreeMap::new();
    for (group, last) in [(SMALL, 4), (LARGE, 7)] {
        entered.extend((1..=last).map(|user| ((group, UserId(user)), Seq(1))));
    }
    for message in stored.iter().filter(|message| message.kind == Kind::Joined) {
        let event: GroupEvent = serde_json::from_str(&message.content).expect("an event is JSON");
        for user in event.user_ids {
            let from = entered.entry((event.group_id, user)).or_insert(message.seq_id);
            *from = (*from).min(message.seq_id);
        }
    }
    let audience = |message: &Sequenced| -> BTreeSet<UserId> {
        match message.conversation_id {
            ConversationId::World => (1..=USERS).map(UserId).collect(),
            ConversationId::Single { low, high } => BTreeSet::from([low, high]),
            ConversationId::Group(group) => {
                let members = entered.range((group, UserId(0))..=(group, UserId(i64::MAX)));
                members.filter(|(_, from)| **from <= message.seq_id).map(|((_, user), _)| *user).collect()
            }
        }
    };
    let due = |message: &Sequenced| {
        let (conversation, seq) = (message.conversation_id, message.seq_id);
        let users = audience(message).into_iter();
        users.map(move |user| Due { client: user.0.cast_unsigned(), conversation, seq, stored_ms: 0 })
    };
    stored.iter().flat_map(due).collect()
}
