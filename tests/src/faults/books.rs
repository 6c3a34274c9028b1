//! The evidence, a few bytes a message, and the judgement by the named invariants.
//!
//! What clients were told and saw, what the history of the store has and what the topics hold is entered
//! as it comes; whatever contradicts an invariant is counted, and the first counterexample is kept. The
//! verdicts are those of `stages::invariants`; here is only what lets them be asked piece by piece.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::snowflake::time_of;
use serde_json::Value;
use stages::invariants::{
    ARRIVES_MS_MAX, Finding, Held, Invariant, Key, Queue, Seen, Synced, check_acked, check_bound, check_gapless,
    check_once, check_stable, check_whole,
};
use topics::partition::partition_of;

use super::cast::{Cast, content, line_of};
use super::pauses::Pauses;
use super::stand::{CHAIN_PARTITIONS, GATEWAY_SLOTS};
use crate::ledger::held;

/// For how long a repeat is recognised.
const RESEND_WINDOW_MS: i64 = 600_000;

/// How often an invariant was looked at, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Observations.
    pub looked_at: u64,
    /// Those that contradict it.
    pub broken: u64,
    /// The first of them, in words.
    pub first: Option<String>,
}

/// All evidence of a scene.
#[derive(Debug, Clone)]
pub struct Books {
    cast: Arc<Cast>,
    room_of: HashMap<ConversationId, usize>,
    rooms: Vec<RoomBook>,
    /// By speaker and number.
    lines: Vec<Vec<Line>>,
    watched: Vec<Watched>,
    tallies: BTreeMap<Invariant, Tally>,
    /// Pauses of delivery.
    pub pauses: Pauses,
    /// Messages acknowledged.
    pub acked: u64,
    /// Messages said.
    pub all_said: u64,
    /// Copies of them that were to be sent, resends after a break apart.
    pub copies: u64,
    /// Messages that the load could not say in time.
    pub held_back: u64,
    /// How often clients were asked to try again later.
    pub held_off: u64,
    /// What the bad network lost.
    pub dropped: u64,
    /// Refusals that can't be retried, and whatever else is no invariant but may not be.
    pub failures: Vec<String>,
}

/// What is known of a conversation.
#[derive(Debug, Clone, Default)]
struct RoomBook {
    /// By seq, from 1.
    known: Vec<Entry>,
    /// How far the history was read.
    stored: u32,
    /// How far a topic was read.
    in_topic: u32,
    /// How far it was known to reach, and when.
    heads: VecDeque<(i64, u32)>,
}

/// The identity of a message. 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    message_id: i64,
    author: Author,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    /// Nobody has told yet.
    Unknown,
    /// A user's line.
    Line { speaker: u16, number: u32 },
    /// An event of a group, told apart by a hash of its clientMsgId.
    Event(u32),
}

/// What became of a line. 8 bytes.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Its place in the conversation; 0: not known yet.
    seq: u32,
    room: u16,
    acked: bool,
    stored: bool,
}

/// A client's state over time.
#[derive(Debug, Clone, Default)]
struct Watched {
    online_since: Option<i64>,
    /// Of which connection that is.
    connections: u64,
    /// Newest seq seen, by room.
    newest: HashMap<usize, u32>,
}

impl Books {
    /// Nothing yet.
    pub fn new(cast: Arc<Cast>) -> Self {
        Self {
            room_of: cast.rooms.iter().enumerate().map(|(n, room)| (room.id, n)).collect(),
            rooms: cast.rooms.iter().map(|_| RoomBook::default()).collect(),
            lines: cast.accounts.iter().map(|_| Vec::new()).collect(),
            watched: cast.accounts.iter().map(|_| Watched::default()).collect(),
            cast,
            tallies: BTreeMap::new(),
            pauses: Pauses::default(),
            acked: 0,
            all_said: 0,
            copies: 0,
            held_back: 0,
            held_off: 0,
            dropped: 0,
            failures: Vec::new(),
        }
    }

    /// A user says something; its number.
    pub fn said(&mut self, speaker: usize, room: usize) -> u32 {
        let lines = &mut self.lines[speaker];
        lines.push(Line { seq: 0, room: room as u16, acked: false, stored: false });
        self.all_said += 1;
        lines.len() as u32 - 1
    }

    /// What was said and not acknowledged.
    pub fn unacked(&self) -> u64 {
        self.all_said - self.acked
    }

    /// A client heard that its message is durable.
    pub fn ack(&mut self, client_msg_id: &str) {
        let Some(line) = self.line(client_msg_id) else {
            self.failures.push(format!("\"{client_msg_id}\" was acknowledged and never said"));
            return;
        };
        if !std::mem::replace(&mut line.acked, true) {
            self.acked += 1;
        }
    }

    /// Somebody was told of a message: its identity may never have been another.
    pub fn told(&mut self, message: &Held) {
        let Some(room) = self.room(message.key.conversation) else { return };
        let author = author_of(&message.key);
        let now = Entry { message_id: message.message_id.0, author };
        let known = &mut self.rooms[room].known;
        let at = message.seq.0.max(1) as usize - 1;
        if known.len() <= at {
            known.resize(at + 1, Entry { message_id: 0, author: Author::Unknown });
        }
        let before = known[at];
        match before.author {
            Author::Unknown => {
                known[at] = now;
                self.count(Invariant::Stable, 1);
            }
            Author::Line { .. } | Author::Event(_) if before == now => self.count(Invariant::Stable, 1),
            Author::Line { .. } | Author::Event(_) => {
                let before = self.as_held(room, message.seq, before);
                self.enter(&check_stable(&[before], std::slice::from_ref(message)));
            }
        }
        self.place(room, message);
    }

    /// Where a line stands; it may stand nowhere else.
    fn place(&mut self, room: usize, message: &Held) {
        let Some(line) = self.line(&message.key.client_msg_id) else { return };
        let (seq, before, said_in) = (message.seq.0 as u32, line.seq, usize::from(line.room));
        if before == 0 {
            line.seq = seq;
        }
        if said_in != room {
            self.failures.push(format!("{:?} was said elsewhere than it came", message.key));
        }
        self.count(Invariant::Once, 1);
        if before != 0 && before != seq {
            let former = self.as_held(room, Seq(i64::from(before)), self.rooms[room].known[before as usize - 1]);
            self.enter(&check_once(&[former, message.clone()], RESEND_WINDOW_MS));
        }
    }

    /// The next messages of a conversation's history.
    pub fn history(&mut self, room: usize, messages: &[Value]) {
        for value in messages {
            let message = held(value, UserId(0));
            self.told(&message);
            let stored = std::mem::replace(&mut self.rooms[room].stored, message.seq.0 as u32);
            if i64::from(stored) + 1 == message.seq.0 {
                self.count(Invariant::Gapless, 1);
            } else {
                let former = self.rooms[room].known.get(stored as usize - usize::from(stored > 0)).copied();
                let former = former.filter(|_| stored > 0).map(|e| self.as_held(room, Seq(i64::from(stored)), e));
                let both: Vec<_> = former.into_iter().chain([message.clone()]).collect();
                // Relative to the former one: check_gapless wants a conversation from its start.
                let start = both[0].seq.0 - 1;
                let both: Vec<_> = both.into_iter().map(|held| Held { seq: Seq(held.seq.0 - start), ..held }).collect();
                let mut finding = check_gapless(&both);
                finding.counterexample = finding.counterexample.map(|_| {
                    format!("the history of {} goes from seq {stored} to {}", message.key.conversation, message.seq)
                });
                self.enter(&finding);
            }
            if let Some((speaker, number)) = line_of(&message.key.client_msg_id) {
                let stored_as = value["content"].as_str().unwrap_or_default();
                if stored_as != content(speaker, number) {
                    let what = format!("{:?} is stored as {stored_as:?}, which is not what was said", message.key);
                    self.broken(Invariant::Acked, what);
                }
                if let Some(line) = self.line(&message.key.client_msg_id) {
                    line.stored = true;
                }
            }
        }
    }

    /// How far a conversation's history was read.
    pub fn stored(&self, room: usize) -> u32 {
        self.rooms[room].stored
    }

    /// Reads histories from the start again, to see that nothing has changed.
    pub fn read_again(&mut self) {
        self.rooms.iter_mut().for_each(|room| room.stored = 0);
    }

    /// The same evidence with nothing of the store read yet and nothing found: to judge a copy of the data.
    pub fn of_a_copy(&self) -> Self {
        let mut copy = self.clone();
        copy.read_again();
        copy.lines.iter_mut().flatten().for_each(|line| line.stored = false);
        copy.tallies.clear();
        copy.failures.clear();
        copy
    }

    /// What was found first, if anything was.
    pub fn first_finding(&self) -> Option<&str> {
        let broken = self.tallies.values().find_map(|tally| tally.first.as_deref());
        broken.or(self.failures.first().map(String::as_str))
    }

    /// A record with an identity in a topic; `repeats` says whether it may come more than once.
    pub fn in_topic(&mut self, topic: &str, message: &Held, repeats: bool) {
        let Some(room) = self.room(message.key.conversation) else { return };
        self.told(message);
        let last = self.rooms[room].in_topic;
        let seq = message.seq.0 as u32;
        self.count(Invariant::Gapless, 1);
        if seq == last + 1 {
            self.rooms[room].in_topic = seq;
        } else if seq > last || !repeats {
            let what = format!("{topic} has seq {seq} of {} behind {last}", message.key.conversation);
            self.broken(Invariant::Gapless, what);
        }
    }

    /// A topic was read to its end: it has all that the store has. The next one follows.
    pub fn topic_ends(&mut self, topic: &str) {
        for room in 0..self.rooms.len() {
            let book = &mut self.rooms[room];
            let (in_topic, stored) = (std::mem::take(&mut book.in_topic), book.stored);
            if in_topic != stored {
                let id = self.cast.rooms[room].id;
                let what = format!("{topic} has {id} up to seq {in_topic}, and the store has it up to {stored}");
                self.broken(Invariant::Acked, what);
            }
        }
    }

    /// What a client saw as new.
    pub fn seen(&mut self, client: usize, seen: &Seen) {
        let Some(room) = self.room(seen.conversation) else { return };
        let newest = self.watched[client].newest.entry(room).or_default();
        let (former, now) = (*newest, seen.seq.0 as u32);
        *newest = now.max(former);
        self.count(Invariant::Order, 1);
        if now <= former {
            let what = format!("client {client} saw seq {now} of {} behind {former}", seen.conversation);
            self.broken(Invariant::Order, what);
        }
        if client != self.cast.unlucky() {
            let partition = partition_of(seen.conversation.to_string().as_bytes(), CHAIN_PARTITIONS);
            self.pauses.seen(client, (partition, client % GATEWAY_SLOTS as usize), seen.time_ms);
        }
    }

    /// An answer to a sync.
    pub fn synced(&mut self, synced: &Synced) {
        if synced.recovered {
            self.enter(&check_whole(std::slice::from_ref(synced)));
        }
    }

    /// How long a queue was.
    pub fn queue(&mut self, queue: Queue) {
        self.enter(&check_bound(&[queue]));
    }

    /// Notes how far conversations reach, for [`arrives`](Self::arrives).
    pub fn note_heads(&mut self, now_ms: i64) {
        for room in &mut self.rooms {
            room.heads.push_back((now_ms, room.known.len() as u32));
            while room.heads.get(1).is_some_and(|(time, _)| *time <= now_ms - ARRIVES_MS_MAX) {
                room.heads.pop_front();
            }
        }
    }

    /// Whether a client that was online for all of the last minute has what is older than that.
    pub fn arrives(&mut self, client: usize, online: bool, connections: u64, now_ms: i64) {
        let watched = &mut self.watched[client];
        // A new connection starts anew: what was before it comes by sync.
        if !online || watched.connections != connections {
            watched.connections = connections;
            watched.online_since = online.then_some(now_ms);
        }
        let Some(since) = self.watched[client].online_since else { return };
        if now_ms - since <= ARRIVES_MS_MAX {
            return;
        }
        for room in self.cast.clone().rooms_of(client) {
            let Some(&(time, due)) = self.rooms[room].heads.front() else { continue };
            if time > now_ms - ARRIVES_MS_MAX || time < since {
                continue;
            }
            self.count(Invariant::Arrives, 1);
            let has = self.watched[client].newest.get(&room).copied().unwrap_or_default();
            if has < due {
                let (id, late) = (self.cast.rooms[room].id, now_ms - time);
                let what = format!(
                    "client {client}, online for {} ms, has {id} up to seq {has}; {due} was known {late} ms ago",
                    now_ms - since
                );
                self.broken(Invariant::Arrives, what);
            }
        }
    }

    /// The newest seq a client has seen in a room, and how far the room is known to reach.
    pub fn position(&self, client: usize, room: usize) -> (u32, u32) {
        let has = self.watched[client].newest.get(&room).copied().unwrap_or_default();
        (has, self.rooms[room].known.len() as u32)
    }

    /// At the end, with all of the history read: every acknowledged message is stored.
    pub fn judge_acked(&mut self) {
        let (mut acked, mut missing) = (0, Vec::new());
        for (speaker, lines) in self.lines.iter().enumerate() {
            for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.acked) {
                acked += 1;
                if !line.stored {
                    missing.push((speaker, number, line.room));
                }
            }
        }
        self.count(Invariant::Acked, acked);
        for (speaker, number, room) in missing {
            let (conversation, account) = (self.cast.rooms[usize::from(room)].id, &self.cast.accounts[speaker]);
            let sender = UserId(account.user_id.parse().expect("a user id"));
            let key = Key { conversation, sender, client_msg_id: format!("{speaker}-{number}").into() };
            self.enter(&check_acked(&[key], &[]));
        }
    }

    /// What was found, by invariant.
    pub fn tallies(&self) -> &BTreeMap<Invariant, Tally> {
        &self.tallies
    }

    /// Messages that the store holds, events of groups among them.
    pub fn stored_messages(&self) -> u64 {
        self.rooms.iter().map(|room| u64::from(room.stored)).sum()
    }

    fn room(&mut self, conversation: ConversationId) -> Option<usize> {
        let room = self.room_of.get(&conversation).copied();
        if room.is_none() {
            self.failures.push(format!("a message of {conversation}, which nobody talks in"));
        }
        room
    }

    fn line(&mut self, client_msg_id: &str) -> Option<&mut Line> {
        let (speaker, number) = line_of(client_msg_id)?;
        self.lines.get_mut(speaker)?.get_mut(number as usize)
    }

    fn as_held(&self, room: usize, seq: Seq, entry: Entry) -> Held {
        let (speaker, client_msg_id) = match entry.author {
            Author::Line { speaker, number } => (usize::from(speaker), format!("{speaker}-{number}")),
            Author::Event(hash) => (0, format!("event {hash:08x}")),
            Author::Unknown => (0, String::new()),
        };
        let sender = UserId(self.cast.accounts[speaker].user_id.parse().expect("a user id"));
        let key = Key { conversation: self.cast.rooms[room].id, sender, client_msg_id: client_msg_id.into() };
        Held { key, seq, message_id: MessageId(entry.message_id), time_ms: time_of(entry.message_id) }
    }

    fn count(&mut self, invariant: Invariant, looked_at: u64) {
        self.tallies.entry(invariant).or_default().looked_at += looked_at;
    }

    fn broken(&mut self, invariant: Invariant, what: String) {
        let tally = self.tallies.entry(invariant).or_default();
        tally.broken += 1;
        tally.first.get_or_insert(what);
    }

    fn enter(&mut self, finding: &Finding) {
        self.count(finding.invariant, finding.looked_at as u64);
        if let Some(counterexample) = &finding.counterexample {
            self.broken(finding.invariant, counterexample.clone());
        }
    }
}

fn author_of(key: &Key) -> Author {
    match line_of(&key.client_msg_id) {
        Some((speaker, number)) => Author::Line { speaker: speaker as u16, number },
        // FNV-1a: stable, and enough to tell a handful of events apart.
        None => Author::Event(
            key.client_msg_id
                .bytes()
                .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)),
        ),
    }
}
