//! What clients saw, and when: in order, whole, and within the minute.

use std::collections::HashMap;

use stages::invariants::{ARRIVES_MS_MAX, Invariant, Seen, Synced, check_whole};
use topics::partition::partition_of;

use super::Books;
use crate::faults::stand::{CHAIN_PARTITIONS, GATEWAY_SLOTS};

/// A client's state over time.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    online_since: Option<i64>,
    /// Of which connection that is.
    connections: u64,
    /// Newest seq seen, by room.
    newest: HashMap<usize, u32>,
}

impl Books {
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
}
