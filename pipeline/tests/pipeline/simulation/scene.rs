//! Who is there and what is said: users on gateway slots, groups that grow, and a script of messages
//! with the copies that impatient clients send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use rand::RngExt;
use rand::rngs::StdRng;
use schemas::avro::PresenceEvent;
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupEvent, Heartbeat, Presence, Upstream};
use stages::membership::{Membership, MembershipSource};
use stages::presence::SharedPresence;

use super::world::{Boundary, Fault, Happening, Process, World};

/// Users are 1 up to this.
pub const USERS: i64 = 12;
/// Gateway slots; a user is on the slot user mod this.
pub const SLOTS: u32 = 2;
/// The epoch of every slot.
pub const EPOCH: i64 = 7;
/// A group that is fanned out at once.
pub const SMALL: GroupId = GroupId(20);
/// A group that is fanned out page by page.
pub const LARGE: GroupId = GroupId(30);
/// A page of it has so many members, on average: a handful of members makes several pages.
pub const PAGE_MEMBERS: usize = 2;
/// For so long a copy is recognised, ms.
pub const WINDOW_MS: i64 = 1_500;
/// Distinct messages of a schedule, at least.
pub const MESSAGES_MIN: usize = 200;

/// Something that the script has a client, or the repo, do.
#[derive(Debug, Clone)]
pub enum Cue {
    /// Say this, and copies of it so many ms after the first is in the log; 0: in the same call.
    Say { message: Upstream, copies_after_ms: Vec<i64> },
    /// A user enters a group: first in the repo, then as an event on the chain.
    Enter { group: GroupId, user: UserId },
}

/// The repo's groups, with their versions.
pub struct Groups(Mutex<BTreeMap<GroupId, (i64, BTreeSet<UserId>)>>);

impl Groups {
    pub fn new() -> Arc<Self> {
        let first = |last| (1, (1..=last).map(UserId).collect());
        Arc::new(Self(Mutex::new(BTreeMap::from([(SMALL, first(4)), (LARGE, first(7))]))))
    }

    /// Lets a user in. Returns the event; none when the user is in already.
    pub fn enter(&self, group: GroupId, user: UserId, world: &World) -> Option<Upstream> {
        let mut groups = self.0.lock().unwrap();
        let (version, members) = groups.get_mut(&group)?;
        if !members.insert(user) {
            return None;
        }
        *version += 1;
        world.note(Happening::MemberEntered { group: group.0, user: user.0, version: *version });
        let event = GroupEvent {
            group_id: group,
            version: *version,
            actor_id: UserId(1),
            user_ids: vec![user],
            name: None,
            role: None,
        };
        Some(Upstream {
            conversation_id: ConversationId::Group(group),
            sender_id: UserId(1),
            client_msg_id: format!("event-{version}").into(),
            kind: Kind::Joined,
            content: serde_json::to_string(&event).unwrap().into(),
            target_seq: None,
            remove: false,
        })
    }

    /// Answers a process that asks for members; now and then only at the second try.
    pub fn source(self: &Arc<Self>, world: &Arc<World>, process: Process) -> MembershipSource {
        let (groups, world) = (Arc::clone(self), Arc::clone(world));
        Arc::new(move |asked| {
            let (groups, world) = (Arc::clone(&groups), Arc::clone(&world));
            async move {
                world.step(process).await;
                if world.strike(process, Boundary::Asking, &[Fault::Passing]).is_some() {
                    return Err("a fault was injected".into());
                }
                let answer = |group_id: GroupId| {
                    let groups = groups.0.lock().unwrap();
                    let (version, members) = groups.get(&group_id)?;
                    world.note(Happening::Loaded { by: process, group: group_id.0, version: *version });
                    let members = members.iter().copied().collect();
                    Some(Membership { group_id, version: *version, large: group_id == LARGE, members })
                };
                let answers = asked.into_iter().filter_map(answer).collect();
                world.step(process).await;
                Ok(answers)
            }
            .boxed()
        })
    }
}

/// Everybody is online all the time.
pub fn presence(at: i64) -> SharedPresence {
    let presence = SharedPresence::default();
    let mut table = presence.write().unwrap();
    for slot in 0..SLOTS.cast_signed() {
        table.apply(&PresenceEvent::Slot(Heartbeat { slot, epoch: EPOCH, at }), at);
    }
    for user in (1..=USERS).map(UserId) {
        let slot = slot_of(user).cast_signed();
        table.apply(&PresenceEvent::User(Presence { user_id: user, slot, epoch: EPOCH, online: true, at }), at);
    }
    drop(table);
    presence
}

/// The slot that a user is on.
pub fn slot_of(user: UserId) -> u32 {
    u32::try_from(user.0).unwrap() % SLOTS
}

/// What is done in a schedule, with when, in ms since its start.
pub fn script(random: &mut StdRng) -> Vec<(i64, Cue)> {
    let messages = random.random_range(MESSAGES_MIN..MESSAGES_MIN + 30);
    let bursts = random.random_range(8..25);
    let mut script: Vec<(i64, Cue)> = (0..messages)
        .map(|n| (at(random, bursts), Cue::Say { message: message(random, n), copies_after_ms: copies(random) }))
        .collect();
    for user in (8..=USERS).map(UserId) {
        script.push((at(random, bursts), Cue::Enter { group: LARGE, user }));
        script.push((at(random, bursts), Cue::Enter { group: SMALL, user }));
    }
    script.sort_by_key(|(at, _)| *at);
    script
}

fn at(random: &mut StdRng, bursts: i64) -> i64 {
    random.random_range(0..bursts) * 50 + random.random_range(0..12)
}

/// A fifth of the messages is sent again: at once, while the first copy is under way, at the very edge
/// of the window on either side, or long after.
fn copies(random: &mut StdRng) -> Vec<i64> {
    if random.random_bool(0.8) {
        return Vec::new();
    }
    let copies = random.random_range(1..=2);
    let mut after: Vec<i64> = (0..copies)
        .map(|_| match random.random_range(0..10) {
            0 | 1 => 0,
            2..=5 => random.random_range(1..60),
            6 => random.random_range(60..WINDOW_MS),
            7 => WINDOW_MS,
            8 => WINDOW_MS + random.random_range(1..3),
            _ => 2 * WINDOW_MS + random.random_range(0..50),
        })
        .collect();
    after.sort_unstable();
    after
}

fn message(random: &mut StdRng, n: usize) -> Upstream {
    let user = |random: &mut StdRng, last| UserId(random.random_range(1..=last));
    let (conversation_id, sender_id) = match random.random_range(0..20) {
        0..2 => (ConversationId::World, user(random, USERS)),
        2..6 => (ConversationId::Group(LARGE), user(random, 7)),
        6..10 => (ConversationId::Group(SMALL), user(random, 4)),
        pair => {
            let low = (pair - 10) % 4 + 1;
            (ConversationId::single(UserId(low), UserId(low + 5)), UserId(low + 5 * random.random_range(0..2)))
        }
    };
    let kind = match random.random_range(0..20) {
        0 => Kind::Edit,
        1 => Kind::Recall,
        2 => Kind::Reaction,
        3 => Kind::ReadMark,
        4 => Kind::Image,
        _ => Kind::Text,
    };
    let target_seq = matches!(kind, Kind::Edit | Kind::Recall | Kind::Reaction | Kind::ReadMark).then_some(Seq(1));
    // A read mark is idempotent by itself. Some ids are used again, by whomever and wherever.
    let client_msg_id = match kind {
        Kind::ReadMark => String::new(),
        _ if random.random_bool(0.03) => format!("again-{}", random.random_range(0..3)),
        _ => format!("{n}"),
    };
    let (client_msg_id, content) = (client_msg_id.into(), format!("said {n}").into());
    Upstream { conversation_id, sender_id, client_msg_id, kind, content, target_seq, remove: false }
}
