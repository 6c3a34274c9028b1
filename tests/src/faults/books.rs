//! The evidence, a few bytes a message, and the judgement by the named invariants.
//!
//! What clients were told and saw, what the history of the store has and what the topics hold is entered
//! as it comes; whatever contradicts an invariant is counted, and the first counterexample is kept. The
//! verdicts are those of `stages::invariants`; here is only what lets them be asked piece by piece.

mod clients;
mod kept;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::snowflake::time_of;
use stages::invariants::{Finding, Held, Invariant, Key, Queue, check_bound, check_once, check_stable};

use self::clients::Watched;
use super::cast::{Cast, line_of};
use super::pauses::Pauses;

/// Within this a line may not stand at two places: ever, since nobody says again what was acknowledged, and no
/// fault lasts as long as a repeat is recognised.
const SAID_ONCE_WITHIN_MS: i64 = i64::MAX;

/// How often an invariant was looked at, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Tally {
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
    pub acked: u64,
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

impl Books {
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
            self.enter(&check_once(&[former, message.clone()], SAID_ONCE_WITHIN_MS));
        }
    }

    /// What was found first, if anything was.
    pub fn first_finding(&self) -> Option<&str> {
        let broken = self.tallies.values().find_map(|tally| tally.first.as_deref());
        broken.or(self.failures.first().map(String::as_str))
    }

    /// How long a queue was.
    pub fn queue(&mut self, queue: Queue) {
        self.enter(&check_bound(&[queue]));
    }

    /// What was found, by invariant.
    pub fn tallies(&self) -> &BTreeMap<Invariant, Tally> {
        &self.tallies
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

#[cfg(test)]
mod tests {
    use schemas::snowflake::first_at;

    use super::*;
    use crate::api::Account;
    use crate::faults::cast::Room;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn a_line_at_two_places_is_found_however_far_apart_they_are() {
        let account =
            Account { user_id: "1".into(), username: "ann".into(), token: String::new(), refresh_token: String::new() };
        let room = Room { id: ConversationId::World, members: vec![0], share: 1_000 };
        let mut books = Books::new(Arc::new(Cast { accounts: vec![account], rooms: vec![room] }));
        assert_eq!(books.said(0, 0), 0);
        let key = Key { conversation: ConversationId::World, sender: UserId(1), client_msg_id: "0-0".into() };
        for (seq, time_ms, broken) in
            [(1, 1_800_000_000_000, 0), (1, 1_800_000_000_000, 0), (2, 1_800_000_000_000 + DAY_MS, 1)]
        {
            books.told(&Held { key: key.clone(), seq: Seq(seq), message_id: MessageId(first_at(time_ms)), time_ms });
            assert_eq!(books.tallies()[&Invariant::Once].broken, broken, "seq {seq}");
        }
        assert_eq!(books.failures, [""; 0]);
    }
}
