//! The outputs of fan-out and large-group: deliveries to gateways, and tasks.

use std::sync::Arc;

use schemas::ids::UserId;
use schemas::records::{Delivery, GroupTask, Sequenced};
use topics::headers::Headers;

use crate::presence::Presence;
use crate::stage::{Output, Source};

/// A record for one of the two topics that fan-out and large-group write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatch {
    /// To the gateway of this slot.
    Delivery {
        /// The gateway's slot: the partition to write to.
        slot: u32,
        delivery: Delivery,
    },
    Task(GroupTask),
}

/// The slots of some users, silent slots too.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    slots: Vec<OnSlot>,
}

#[derive(Debug)]
struct OnSlot {
    slot: u32,
    epoch: i64,
    users: Vec<UserId>,
}

impl Audience {
    /// The recipients keep the order of `users`, which is by id, each once.
    pub(crate) fn of(presence: &Presence, users: impl IntoIterator<Item = UserId>) -> Self {
        let mut slots: Vec<OnSlot> = Vec::new();
        for user in users {
            for (slot, epoch) in presence.places_of(user) {
                match slots.binary_search_by_key(&slot, |on| on.slot) {
                    Ok(at) => slots[at].users.push(user),
                    Err(at) => slots.insert(at, OnSlot { slot, epoch, users: vec![user] }),
                }
            }
        }
        Self { slots }
    }

    /// Adds a delivery for each live slot.
    pub(crate) fn send(self, to: &Sending<'_>, message: Sequenced, out: &mut Vec<Output<Dispatch>>) {
        let live = self.slots.into_iter().filter(|on| to.presence.is_live(on.slot, on.epoch));
        to.each(live.map(|on| (on.slot, on.epoch, on.users)), message, out);
    }

    /// As [`send`](Self::send), and keeps the audience.
    pub(crate) fn send_again(&self, to: &Sending<'_>, message: Sequenced, out: &mut Vec<Output<Dispatch>>) {
        let live = self.slots.iter().filter(|on| to.presence.is_live(on.slot, on.epoch));
        to.each(live.map(|on| (on.slot, on.epoch, on.users.clone())), message, out);
    }
}

/// An audience, and the members that it was computed from.
#[derive(Debug)]
pub(crate) struct AudienceOf {
    pub(crate) members: Arc<Vec<UserId>>,
    pub(crate) audience: Audience,
}

/// What all deliveries of one input share.
pub(crate) struct Sending<'a> {
    pub(crate) presence: &'a Presence,
    pub(crate) source: Source,
    pub(crate) headers: &'a Headers,
}

impl Sending<'_> {
    /// Adds a delivery for each (slot, epoch, recipients).
    pub(crate) fn each(
        &self,
        slots: impl Iterator<Item = (u32, i64, Vec<UserId>)>,
        message: Sequenced,
        out: &mut Vec<Output<Dispatch>>,
    ) {
        let mut slots = slots.peekable();
        let mut message = Some(message);
        while let Some((slot, epoch, recipients)) = slots.next() {
            let last = slots.peek().is_none();
            // The last one takes the message itself.
            let Some(message) = (if last { message.take() } else { message.clone() }) else { return };
            out.push(self.output(Dispatch::Delivery { slot, delivery: Delivery { epoch, recipients, message } }));
        }
    }

    pub(crate) fn output(&self, value: Dispatch) -> Output<Dispatch> {
        Output { source: self.source, headers: self.headers.clone(), value }
    }
}

/// Adds users to a list that is sorted by id, without duplicates.
pub(crate) fn include(users: &mut Vec<UserId>, more: &[UserId]) {
    for user in more {
        if let Err(at) = users.binary_search(user) {
            users.insert(at, *user);
        }
    }
}
