//! `ACKED` and `ONCE` between `upstream-messages` and `sequenced-messages`: what clients were told is
//! accepted becomes a message, and only one.
//!
//! Both topics are read side by side. A model of the promise says which records of upstream are first
//! copies within the window, by log-append time; each waits here until the message that was made of it
//! comes. What waits at the end was lost; a message that nothing waits for, but whose sender's key had
//! one already, was made twice. Memory is that of what lies between both topics, and of the window.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use schemas::avro::Record;
use schemas::ids::{ConversationId, Seq, UserId};
use schemas::records::{Sequenced, Upstream};
use stages::invariants::Invariant;
use topics::catalogue::{ACCEPTED, SEQUENCED, UPSTREAM};
use topics::log::{Log, LogError, StartAt};
use topics::scan::Scan;

use super::findings::{Findings, Location};

/// A message is appended after the record that it is made of, but maybe by a broker whose clock is behind.
const CLOCKS_APART_MS_MAX: i64 = 60_000;

/// What a client calls one message, hashed.
type Key = u128;

/// A first copy whose message has not come.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    offset: u64,
    judged: bool,
}

/// A message that was made.
#[derive(Debug, Clone, Copy)]
struct Made {
    seq: Seq,
    time_ms: i64,
}

/// One partition of both topics.
pub struct Origins {
    scan: Scan,
    partition: u32,
    window_ms: i64,
    /// Nothing of upstream was dropped or left out.
    whole: bool,
    /// Position of dedupe when the audit began: what lies below it was worked on.
    passed: u64,
    /// Time of the last record that was taken in.
    read_to_ms: i64,
    first_ms: Option<i64>,
    window: HashMap<Key, i64>,
    window_order: VecDeque<(i64, Key)>,
    waiting: HashMap<Key, VecDeque<Waiting>>,
    made: HashMap<Key, Made>,
    made_order: VecDeque<(i64, Key)>,
    first_matched: Option<u64>,
}

impl Origins {
    /// Starts at `from`; `passed` is the committed position of dedupe.
    pub async fn open(
        log: &dyn Log,
        partition: u32,
        from: StartAt,
        passed: u64,
        window_ms: i64,
    ) -> Result<Self, LogError> {
        let topic = &UPSTREAM.spec;
        let end = log.bounds(topic, partition).await?.end;
        let scan = Scan::open(log, topic, partition, from, end).await?;
        let whole = scan.position() == 0;
        Ok(Self {
            scan,
            partition,
            window_ms,
            whole,
            passed,
            read_to_ms: i64::MIN,
            first_ms: None,
            window: HashMap::new(),
            window_order: VecDeque::new(),
            waiting: HashMap::new(),
            made: HashMap::new(),
            made_order: VecDeque::new(),
            first_matched: None,
        })
    }

    /// Reads upstream up to a time, with a margin for clocks.
    pub async fn read_until(&mut self, time_ms: i64, findings: &mut Findings) -> Result<(), LogError> {
        while self.read_to_ms < time_ms.saturating_add(CLOCKS_APART_MS_MAX) {
            let Some(batch) = self.scan.next().await? else { return Ok(()) };
            for record in batch.records {
                self.read_to_ms = self.read_to_ms.max(record.time_ms);
                // Other bytes were never acknowledged.
                if let Ok(said) = Upstream::decode(&record.value) {
                    self.said(&said, record.offset, record.time_ms, findings);
                }
            }
        }
        Ok(())
    }

    fn said(&mut self, said: &Upstream, offset: u64, time_ms: i64, findings: &mut Findings) {
        if !said.kind.rules().sequenced || said.client_msg_id.is_empty() {
            return;
        }
        if offset < self.passed {
            findings.looked_at(Invariant::Acked, 1);
        }
        let key = key_of(said.conversation_id, said.sender_id, &said.client_msg_id);
        while let Some((at, old)) = self.window_order.front().copied().filter(|(at, _)| time_ms - at > self.window_ms) {
            self.window_order.pop_front();
            if self.window.get(&old) == Some(&at) {
                self.window.remove(&old);
            }
        }
        if self.window.contains_key(&key) {
            return; // A repeat.
        }
        self.window.insert(key, time_ms);
        self.window_order.push_back((time_ms, key));
        let first_ms = *self.first_ms.get_or_insert(time_ms);
        // Near the oldest record it may be a repeat of a record that was dropped.
        let judged = self.whole || time_ms - first_ms > self.window_ms;
        self.waiting.entry(key).or_default().push_back(Waiting { offset, judged });
    }

    /// A message of `sequenced-messages`, in the order of its partition; not one that was there before.
    pub fn message(&mut self, message: &Sequenced, offset: u64, time_ms: i64, findings: &mut Findings) {
        if message.client_msg_id.is_empty() {
            return;
        }
        findings.looked_at(Invariant::Once, 1);
        let key = key_of(message.conversation_id, message.sender_id, &message.client_msg_id);
        let origin = self.waiting.get_mut(&key).and_then(VecDeque::pop_front);
        if self.waiting.get(&key).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&key);
        }
        match origin {
            Some(origin) => {
                self.first_matched.get_or_insert(origin.offset);
            }
            // Its record of upstream may have been dropped, as long as no match was found.
            None if !self.whole && self.first_matched.is_none() => {}
            None => {
                if let Some(made) = self.made.get(&key) {
                    let (id, sender, conversation) =
                        (&message.client_msg_id, message.sender_id, message.conversation_id);
                    let what = format!(
                        "\"{id}\" of user {sender} in {conversation} is seq {} and, again, seq {}",
                        made.seq, message.seq_id
                    );
                    findings.broken(Invariant::Once, Location::record(&SEQUENCED.spec, self.partition, offset), what);
                }
            }
        }
        let kept_ms = self.window_ms.saturating_mul(2);
        while let Some((at, old)) = self.made_order.front().copied().filter(|(at, _)| time_ms - at > kept_ms) {
            self.made_order.pop_front();
            if self.made.get(&old).is_some_and(|made| made.time_ms == at) {
                self.made.remove(&old);
            }
        }
        self.made.insert(key, Made { seq: message.seq_id, time_ms });
        self.made_order.push_back((time_ms, key));
    }

    /// All of sequenced was seen, up to an end that was taken after the positions: what still waits was
    /// lost, unless it lies before id-assign when that runs apart. `sequenced_whole`: nothing of
    /// sequenced was dropped or left out.
    pub async fn finish(
        mut self,
        log: &dyn Log,
        id_assign: Option<u64>,
        sequenced_whole: bool,
        findings: &mut Findings,
    ) -> Result<(), LogError> {
        self.read_until(i64::MAX - CLOCKS_APART_MS_MAX, findings).await?;
        if !self.whole {
            findings.note(
                Invariant::Acked,
                "older records of upstream-messages are dropped, or were left out: those are not looked at",
            );
        }
        let first = if sequenced_whole { Some(0) } else { self.first_matched };
        let lost = |waiting: &Waiting| {
            waiting.judged && waiting.offset < self.passed && first.is_some_and(|first| waiting.offset >= first)
        };
        let mut missing: Vec<(Key, Waiting)> = Vec::new();
        for (key, all) in &self.waiting {
            missing.extend(all.iter().filter(|waiting| lost(waiting)).map(|waiting| (*key, *waiting)));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let between = between_the_stages(log, self.partition, id_assign).await?;
        missing.retain(|(key, _)| !between.contains(key));
        missing.sort_by_key(|(_, waiting)| waiting.offset);
        for (_, Waiting { offset, .. }) in missing {
            let what = "it was acknowledged, dedupe has passed it, and no message was made of it".to_owned();
            findings.broken(Invariant::Acked, Location::record(&UPSTREAM.spec, self.partition, offset), what);
        }
        Ok(())
    }
}

/// What dedupe has output and id-assign has not read.
async fn between_the_stages(log: &dyn Log, partition: u32, id_assign: Option<u64>) -> Result<HashSet<Key>, LogError> {
    let topic = &ACCEPTED.spec;
    let end = log.bounds(topic, partition).await?.end;
    let from = id_assign.map_or(StartAt::Earliest, StartAt::Offset);
    let mut scan = Scan::open(log, topic, partition, from, end).await?;
    let mut between = HashSet::new();
    while let Some(batch) = scan.next().await? {
        for record in batch.records {
            if let Ok(said) = Upstream::decode(&record.value) {
                between.insert(key_of(said.conversation_id, said.sender_id, &said.client_msg_id));
            }
        }
    }
    Ok(between)
}

fn key_of(conversation: ConversationId, sender: UserId, client_msg_id: &str) -> Key {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, conversation, sender, client_msg_id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
