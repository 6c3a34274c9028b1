//! What the store and the topics hold, against what was told and acknowledged.

use schemas::ids::{Seq, UserId};
use serde_json::Value;
use stages::invariants::{Held, Invariant, Key, check_acked, check_gapless};

use super::Books;
use crate::faults::cast::{content, line_of};
use crate::ledger::held;

impl Books {
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

    /// Messages that the store holds, events of groups among them.
    pub fn stored_messages(&self) -> u64 {
        self.rooms.iter().map(|room| u64::from(room.stored)).sum()
    }
}
