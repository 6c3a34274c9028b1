//! Turns a message into what each gateway shall send.
//!
//! Two users or a group of up to [`SMALL_GROUP_MEMBERS_MAX`]: one delivery for each live gateway slot
//! where one of them is online, with its recipients. A larger group, or one that once was: one task
//! for large-group. `world`: one delivery for each live slot, to everybody there. Read marks go where they are
//! shown: not to larger groups, nor to `world`.
//!
//! The stage has no changelog: it loads memberships from the repo and applies the events that pass, and gateways
//! recognise a repeated delivery by its seq.
//!
//! [`SMALL_GROUP_MEMBERS_MAX`]: crate::membership::SMALL_GROUP_MEMBERS_MAX

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::kind::Kind;
use schemas::records::{GroupTask, Sequenced};

use crate::dispatch::{Audience, AudienceOf, Dispatch, Sending, include};
use crate::membership::{LargeGroups, Limits, MemberChange, Members, MembershipSource, Need, Passing};
use crate::presence::{Presence, SharedPresence, read};
use crate::stage::{Context, Input, Output, Outputs, Stage, StageError};

/// Most groups whose audience is cached. A change of presence empties the cache.
const AUDIENCE_GROUPS_MAX: usize = 10_000;

/// What an installation may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many memberships are held.
    pub cache: Limits,
}

pub struct FanOut {
    presence: SharedPresence,
    members: Members,
    audiences: Audiences,
}

/// Audiences of small groups at one version of the presence.
#[derive(Default)]
struct Audiences {
    presence_version: u64,
    of: HashMap<GroupId, AudienceOf>,
}

impl FanOut {
    /// A stage that reads `presence`, which its caller keeps up to date, and asks `members` for groups.
    pub fn new(presence: SharedPresence, members: MembershipSource, config: Config) -> Self {
        let members = Members::new(members, config.cache, LargeGroups::Marked);
        Self { presence, members, audiences: Audiences::default() }
    }

    /// The memberships it holds.
    pub fn members(&self) -> &Members {
        &self.members
    }
}

impl Stage for FanOut {
    type In = Sequenced;
    type Out = Dispatch;
    type Change = ();

    const NAME: &str = "fan-out";

    fn assigned(&mut self, _partition: u32) {
        self.members.clear();
    }

    fn restore(&mut self, _partition: u32, _changes: Vec<()>) {}

    /// Drops the memberships of all partitions: they are not kept by partition.
    fn revoked(&mut self, _partition: u32) {
        self.members.clear();
    }

    async fn prepare(&mut self, batch: &[Input<Sequenced>]) -> Result<(), StageError> {
        let need = |message: &Sequenced| match message.conversation_id {
            ConversationId::Group(group) if is_sent(message) => {
                Some(Need { group, page: 0, pages: 1, change: Passing::of(message).change() })
            }
            ConversationId::Group(_) | ConversationId::Single { .. } | ConversationId::World => None,
        };
        let needs = batch.iter().filter_map(|input| need(&input.value)).collect();
        self.members.prepare(needs).await
    }

    fn process(
        &mut self,
        batch: Vec<Input<Sequenced>>,
        out: &mut Outputs<Dispatch, ()>,
        _cx: &Context,
    ) -> Result<(), StageError> {
        let presence = read(&self.presence);
        self.audiences.at(presence.version());
        let live: Vec<(u32, i64)> = presence.live_slots().collect();
        out.records.reserve(batch.len());
        for Input { source, headers, value: message } in batch {
            if !is_sent(&message) {
                continue;
            }
            let receipt = message.kind == Kind::ReadMark;
            let to = Sending { presence: &presence, source, headers: &headers };
            match message.conversation_id {
                // Read marks are not shown in the world conversation.
                ConversationId::World if receipt => {}
                ConversationId::World => {
                    to.each(live.iter().map(|&(slot, epoch)| (slot, epoch, Vec::new())), message, &mut out.records);
                }
                ConversationId::Single { low, high } => {
                    let mut users = vec![low];
                    include(&mut users, &[high, message.sender_id]);
                    Audience::of(&presence, users).send(&to, message, &mut out.records);
                }
                ConversationId::Group(group) => {
                    to_group(&mut self.members, &mut self.audiences, &to, group, message, &mut out.records)?;
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.members.keep();
    }

    fn aborted(&mut self) {
        self.members.undo();
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut").field("members", &self.members).finish_non_exhaustive()
    }
}

/// Whether a message is delivered to online users.
fn is_sent(message: &Sequenced) -> bool {
    message.kind.rules().broadcast
}

fn to_group(
    members: &mut Members,
    audiences: &mut Audiences,
    to: &Sending<'_>,
    group: GroupId,
    message: Sequenced,
    out: &mut Vec<Output<Dispatch>>,
) -> Result<(), StageError> {
    let before = members.get(group)?.page(0);
    // Leavers see the event that removes them, and the sender's other sockets see the message.
    let mut also = vec![message.sender_id];
    let mut users = Arc::clone(&before);
    if !members.get(group)?.is_large()
        && let Passing::Event { version, about, change } = Passing::of(&message)
    {
        members.apply(group, 0, &change, version)?;
        also.extend(about);
        match change {
            MemberChange::Enter(_) | MemberChange::Leave(_) | MemberChange::Nobody => {
                users = members.get(group)?.page(0);
            }
            MemberChange::Everybody => {}
        }
    }
    if message.kind == Kind::ReadMark
        && (members.get(group)?.is_large() || before.binary_search(&message.sender_id).is_err())
    {
        return Ok(()); // Its marks are not shown, or this one is no member's.
    }
    if members.get(group)?.is_large() {
        let task = GroupTask { group_id: group, page: 0, pages: 0, message };
        out.push(to.output(Dispatch::Task(task)));
        return Ok(());
    }
    if also.iter().all(|user| users.binary_search(user).is_ok()) {
        audiences.of(to.presence, group, users).send_again(to, message, out);
    } else {
        let mut users = Arc::unwrap_or_clone(users);
        include(&mut users, &also);
        Audience::of(to.presence, users).send(to, message, out);
    }
    Ok(())
}

impl Audiences {
    fn at(&mut self, presence_version: u64) {
        if self.presence_version != presence_version {
            self.presence_version = presence_version;
            self.of.clear();
        }
    }

    fn of(&mut self, presence: &Presence, group: GroupId, members: Arc<Vec<UserId>>) -> &Audience {
        if self.of.len() >= AUDIENCE_GROUPS_MAX && !self.of.contains_key(&group) {
            self.of.clear();
        }
        let find = |members: Arc<Vec<UserId>>| {
            let audience = Audience::of(presence, members.iter().copied());
            AudienceOf { members, audience }
        };
        let known = self.of.entry(group).or_insert_with(|| find(Arc::clone(&members)));
        if !Arc::ptr_eq(&known.members, &members) {
            *known = find(members);
        }
        &known.audience
    }
}
