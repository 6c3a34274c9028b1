//! What is guaranteed, by name, and how to tell from outside that it holds.
//!
//! End-to-end tests, fault tests and the auditor observe what clients sent, were answered and saw,
//! and what the store or a log holds; the checkers judge those observations. They know nothing of
//! how the chain works, so that a mistake in it is not made here too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use schemas::ids::{ConversationId, MessageId, Seq, UserId};

/// An online client has a message so long after it was stored, at the latest.
pub const ARRIVES_MS_MAX: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// An acknowledged message is stored.
    Acked,
    /// Copies within the window are one message.
    Once,
    /// Seqs have no gap.
    Gapless,
    /// Ids never change.
    Stable,
    /// Messages are seen in order.
    Order,
    /// What is called recovered is complete.
    Whole,
    /// Who is online has each message soon.
    Arrives,
    /// Queues keep their limits.
    Bound,
}

impl Invariant {
    pub const ALL: [Self; 8] =
        [Self::Acked, Self::Once, Self::Gapless, Self::Stable, Self::Order, Self::Whole, Self::Arrives, Self::Bound];

    /// The name in tests, reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acked => "ACKED",
            Self::Once => "ONCE",
            Self::Gapless => "GAPLESS",
            Self::Stable => "STABLE",
            Self::Order => "ORDER",
            Self::Whole => "WHOLE",
            Self::Arrives => "ARRIVES",
            Self::Bound => "BOUND",
        }
    }

    /// The invariant as a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Acked => "an acknowledged message is stored, whatever process dies",
            Self::Once => {
                "copies of one (sender, clientMsgId) of a conversation, appended within the window, are one message"
            }
            Self::Gapless => "the seqs of a conversation are 1 to n, each of one message",
            Self::Stable => "a message's ids never change, on any retry or replay",
            Self::Order => "a client sees the messages of a conversation in the order of their seqs",
            Self::Whole => "\"recovered\": true means that nothing is missing",
            Self::Arrives => "a client that is online has every message within a minute",
            Self::Bound => "no queue passes its limit",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub invariant: Invariant,
    /// How many observations were looked at, up to the counterexample: 0 proves nothing.
    pub looked_at: usize,
    /// The first observation that contradicts it, in words.
    pub counterexample: Option<String>,
}

impl Finding {
    /// Whether nothing contradicts the invariant.
    pub fn holds(&self) -> bool {
        self.counterexample.is_none()
    }

    fn of<T>(
        invariant: Invariant,
        observations: impl IntoIterator<Item = T>,
        mut judge: impl FnMut(T) -> Option<String>,
    ) -> Self {
        let mut looked_at = 0;
        let counterexample = observations.into_iter().find_map(|observation| {
            looked_at += 1;
            judge(observation)
        });
        Self { invariant, looked_at, counterexample }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.counterexample {
            None => write!(f, "{} holds, {} looked at", self.invariant, self.looked_at),
            Some(counterexample) => write!(f, "{} is broken: {counterexample}", self.invariant),
        }
    }
}

/// What a client calls one message, on every attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub conversation: ConversationId,
    pub sender: UserId,
    pub client_msg_id: Box<str>,
}

/// A message that the store, or a log, holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What its sender calls it.
    pub key: Key,
    pub seq: Seq,
    pub message_id: MessageId,
    /// When the copy that it was made from was appended; where that is not known, when it was
    /// created. ms since 1970 UTC.
    pub time_ms: i64,
}

/// A message that a client took for new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The client: any number of the observer's.
    pub client: u64,
    pub conversation: ConversationId,
    pub seq: Seq,
    /// When, ms since 1970 UTC.
    pub time_ms: i64,
}

/// A message that a client, online all the time, was to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub client: u64,
    pub conversation: ConversationId,
    pub seq: Seq,
    /// When it was stored, ms since 1970 UTC.
    pub stored_ms: i64,
}

/// The answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub client: u64,
    pub conversation: ConversationId,
    /// The last seq that the client had seen.
    pub after: Seq,
    /// The last seq of the conversation when the sync was asked for.
    pub last: Seq,
    /// What came, in the order it came.
    pub seqs: Vec<Seq>,
    /// Whether it was called complete.
    pub recovered: bool,
}

/// The longest that a queue was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// Its greatest length.
    pub longest: usize,
    pub limit: usize,
}

/// `ACKED`: what was acknowledged is held.
pub fn check_acked(acked: &[Key], held: &[Held]) -> Finding {
    let known: HashSet<&Key> = held.iter().map(|message| &message.key).collect();
    Finding::of(Invariant::Acked, acked, |key| {
        (!known.contains(key)).then(|| format!("{} was acknowledged and is not stored", name_of(key)))
    })
}

/// `ONCE`: no two messages held have one key, unless they are more than the window apart.
pub fn check_once(held: &[Held], window_ms: i64) -> Finding {
    let mut by_time: Vec<&Held> = held.iter().filter(|message| !message.key.client_msg_id.is_empty()).collect();
    by_time.sort_by_key(|message| message.time_ms);
    let mut newest: HashMap<&Key, &Held> = HashMap::new();
    Finding::of(Invariant::Once, by_time, |message| {
        let former = newest.insert(&message.key, message)?;
        let apart = message.time_ms - former.time_ms;
        let (name, one, two) = (name_of(&message.key), former.seq, message.seq);
        (apart <= window_ms).then(|| format!("{name} is held as seq {one} and as seq {two}, {apart} ms apart"))
    })
}

/// `GAPLESS`: the seqs of each conversation held are 1 to n. Give all of a conversation, in any order;
/// the same message twice is no matter.
pub fn check_gapless(held: &[Held]) -> Finding {
    let mut by_seq: Vec<&Held> = held.iter().collect();
    by_seq.sort_by_key(|message| (message.key.conversation, message.seq));
    let mut former: Option<&Held> = None;
    Finding::of(Invariant::Gapless, by_seq, |message| {
        let conversation = message.key.conversation;
        let before = former.replace(message).filter(|former| former.key.conversation == conversation);
        let last = before.map_or(0, |before| before.seq.0);
        if message.seq.0 == last + 1 {
            return None;
        }
        match before {
            Some(before) if before.seq == message.seq && before.message_id == message.message_id => None,
            Some(before) if before.seq == message.seq => Some(format!(
                "seq {} of {conversation} is of two messages, {} and {}",
                message.seq, before.message_id, message.message_id
            )),
            Some(_) | None => Some(format!("{conversation} has seq {} next to {last}", message.seq)),
        }
    })
}

/// `STABLE`: every message held before is held after, at the same seq and with the same id, and no id
/// is of two messages.
pub fn check_stable(before: &[Held], after: &[Held]) -> Finding {
    let place = |message: &Held| (message.key.conversation, message.seq);
    let by_place: HashMap<_, &Held> = after.iter().map(|message| (place(message), message)).collect();
    let mut by_id: HashMap<MessageId, (ConversationId, Seq)> = HashMap::new();
    Finding::of(Invariant::Stable, before.iter().chain(after), |message| {
        let (conversation, seq) = place(message);
        let other = by_id.insert(message.message_id, (conversation, seq));
        if let Some((other, at)) = other.filter(|other| *other != (conversation, seq)) {
            return Some(format!(
                "id {} is of seq {at} of {other} and of seq {seq} of {conversation}",
                message.message_id
            ));
        }
        match by_place.get(&(conversation, seq)) {
            None => Some(format!("seq {seq} of {conversation} was {} and is gone", message.message_id)),
            Some(now) if now.message_id != message.message_id || now.key != message.key => Some(format!(
                "seq {seq} of {conversation} was {} ({}) and is {} ({})",
                message.message_id,
                name_of(&message.key),
                now.message_id,
                name_of(&now.key)
            )),
            Some(_) => None,
        }
    })
}

/// `ORDER`: what each client saw of a conversation rises, in the order of `seen`.
pub fn check_order(seen: &[Seen]) -> Finding {
    let mut newest: HashMap<(u64, ConversationId), Seq> = HashMap::new();
    Finding::of(Invariant::Order, seen, |Seen { client, conversation, seq, .. }| {
        let former = newest.insert((*client, *conversation), *seq)?;
        (*seq <= former).then(|| format!("client {client} saw seq {seq} of {conversation} behind seq {former}"))
    })
}

/// `WHOLE`: an answer that is called complete has every seq, in order.
pub fn check_whole(synced: &[Synced]) -> Finding {
    let recovered = synced.iter().filter(|answer| answer.recovered);
    Finding::of(Invariant::Whole, recovered, |Synced { client, conversation, after, last, seqs, .. }| {
        let mut next = after.0 + 1;
        for seq in seqs {
            if seq.0 != next {
                return Some(format!("client {client} got seq {seq} of {conversation} where {next} comes next"));
            }
            next += 1;
        }
        (next <= last.0).then(|| format!("client {client} did not get seq {next} of {conversation}, up to {last}"))
    })
}

/// `ARRIVES`: what was due was seen within [`ARRIVES_MS_MAX`]. What was stored later than that before
/// `now_ms` may still be under way.
pub fn check_arrives(due: &[Due], seen: &[Seen], now_ms: i64) -> Finding {
    let mut first: BTreeMap<(u64, ConversationId, Seq), i64> = BTreeMap::new();
    for Seen { client, conversation, seq, time_ms } in seen {
        let at = first.entry((*client, *conversation, *seq)).or_insert(*time_ms);
        *at = (*at).min(*time_ms);
    }
    Finding::of(Invariant::Arrives, due, |Due { client, conversation, seq, stored_ms }| {
        let what = || format!("seq {seq} of {conversation}");
        match first.get(&(*client, *conversation, *seq)) {
            Some(at) if at - stored_ms > ARRIVES_MS_MAX => {
                Some(format!("client {client} saw {} {} ms after it was stored", what(), at - stored_ms))
            }
            Some(_) => None,
            None if now_ms - stored_ms > ARRIVES_MS_MAX => {
                Some(format!("client {client} has not seen {}, stored {} ms ago", what(), now_ms - stored_ms))
            }
            None => None,
        }
    })
}

/// `BOUND`: no queue was longer than it may be.
pub fn check_bound(queues: &[Queue]) -> Finding {
    Finding::of(Invariant::Bound, queues, |Queue { name, longest, limit }| {
        (longest > limit).then(|| format!("{name} had {longest} entries; its limit is {limit}"))
    })
}

fn name_of(key: &Key) -> String {
    format!("\"{}\" of user {} in {}", key.client_msg_id, key.sender, key.conversation)
}
