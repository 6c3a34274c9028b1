//! Records and drivers that the tests share.

use schemas::avro::PresenceEvent;
use schemas::ids::{ConversationId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::{Heartbeat, Presence, Sequenced, Upstream};
use stages::dispatch::Dispatch;
use stages::presence::SharedPresence;

/// A time at which tests begin, ms since 1970 UTC.
pub const NOW: i64 = 1_800_000_000_000;

pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);

/// What `sender` says, with this clientMsgId.
pub fn said(conversation: ConversationId, sender: UserId, client_msg_id: &str) -> Upstream {
    of_kind(Kind::Text, conversation, sender, client_msg_id)
}

/// An event of any kind.
pub fn of_kind(kind: Kind, conversation: ConversationId, sender: UserId, client_msg_id: &str) -> Upstream {
    Upstream {
        conversation_id: conversation,
        sender_id: sender,
        client_msg_id: client_msg_id.into(),
        kind,
        content: "hello".into(),
        target_seq: None,
        remove: false,
    }
}

/// A message that has an identity.
pub fn sequenced(kind: Kind, conversation: ConversationId, sender: UserId, seq: i64) -> Sequenced {
    of_kind(kind, conversation, sender, &seq.to_string()).identified(MessageId(1_000 + seq), Seq(seq), seq, NOW)
}

/// A user comes to a slot, or leaves it, by the clock of a gateway that nobody may believe.
pub fn user_on(user: UserId, slot: i32, epoch: i64, online: bool) -> PresenceEvent {
    PresenceEvent::User(Presence { user_id: user, slot, epoch, online, at: NOW / 2 * i64::from(slot) })
}

/// A slot beats, by a clock of the same kind.
pub fn beat(slot: i32, epoch: i64) -> PresenceEvent {
    PresenceEvent::Slot(Heartbeat { slot, epoch, at: NOW / 2 * i64::from(slot) })
}

/// Each of the users on its slot, with epoch 1, since [`NOW`].
pub fn online(places: impl IntoIterator<Item = (UserId, i32)>) -> SharedPresence {
    let shared = stages::presence::Presence::shared();
    for (user, slot) in places {
        shared.write().unwrap().apply(&user_on(user, slot, 1, true), NOW);
    }
    shared
}

/// Slot and recipients of each delivery, in order.
pub fn deliveries(dispatches: &[Dispatch]) -> Vec<(u32, Vec<i64>)> {
    let delivery = |dispatch: &Dispatch| match dispatch {
        Dispatch::Delivery { slot, delivery } => Some((*slot, delivery.recipients.iter().map(|user| user.0).collect())),
        Dispatch::Task(_) => None,
    };
    dispatches.iter().filter_map(delivery).collect()
}
