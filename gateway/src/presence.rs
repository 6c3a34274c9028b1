//! Publishes who is online here, so that their messages come to this slot; and signals the presence of users at other
//! gateways to those who follow them.
//!
//! A batch has the state of each changed user at the time of the batch: a user who came and left meanwhile is one
//! record, and records can't come out of order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemas::avro::PresenceEvent;
use schemas::ids::UserId;
use schemas::records::{Heartbeat, Presence};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use topics::catalogue::{PRESENCE, PresenceKey};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{Class, Log};

use crate::sessions::{Sessions, locked};
use crate::signals::Signals;

/// A slot that was silent for three of these is dead to fan-out.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The slot that this gateway leases.
#[derive(Debug, Clone)]
pub struct SlotLease {
    /// Its partition of `downstream-deliveries`.
    pub slot: u32,
    /// The revision of the lease: higher than that of any earlier owner.
    pub epoch: i64,
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
}

/// Who is online at the other gateways. The process reads it from the presence topic.
pub struct OtherGateways {
    pub is_online: IsOnline,
    pub changes: broadcast::Receiver<PresenceChange>,
}

pub type IsOnline = Arc<dyn Fn(UserId) -> bool + Send + Sync>;

/// A change of the presence topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceChange {
    /// A user came to a gateway, or left it.
    User(UserId),
    /// A gateway started, was replaced or died, with all of its users.
    Slots,
}

/// Signals to the followers of users what happens to these at other gateways, until `stop`.
pub async fn signal(
    signals: &Signals,
    is_online: impl Fn(UserId) -> bool,
    clock: &Clock,
    mut changes: broadcast::Receiver<PresenceChange>,
    stop: CancellationToken,
) {
    use broadcast::error::RecvError;
    while let Some(change) = stop.run_until_cancelled(changes.recv()).await {
        match change {
            Ok(PresenceChange::User(user)) => signals.presence(user, &is_online, clock.now_ms()),
            Ok(PresenceChange::Slots) | Err(RecvError::Lagged(_)) => signals.presences(&is_online, clock.now_ms()),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Publishes to the presence topic which users are connected here.
#[derive(Debug)]
pub struct PresencePublisher {
    changed: Mutex<Changed>,
    wake: Notify,
    published: watch::Sender<u64>,
    lease: SlotLease,
}

#[derive(Debug, Default)]
struct Changed {
    users: HashSet<UserId>,
    /// How many changes there were so far.
    count: u64,
}

impl PresencePublisher {
    pub fn new(lease: SlotLease) -> Self {
        Self { changed: Mutex::default(), wake: Notify::new(), published: watch::Sender::new(0), lease }
    }

    /// Notes that a user came or left.
    pub fn changed(&self, user: UserId) {
        let mut changed = locked(&self.changed);
        changed.users.insert(user);
        changed.count += 1;
        drop(changed);
        self.wake.notify_one();
    }

    /// Waits until all changes so far are published; `false` when that takes longer than `timeout`.
    pub async fn published(&self, timeout: Duration) -> bool {
        let count = locked(&self.changed).count;
        let mut published = self.published.subscribe();
        matches!(tokio::time::timeout(timeout, published.wait_for(|done| *done >= count)).await, Ok(Ok(_)))
    }

    /// Publishes until `stop`, and then what is left. A lost lease ends it at once: the slot's keys belong to its
    /// next owner.
    pub async fn run(&self, log: Arc<dyn Log>, sessions: &Sessions, clock: &Clock, stop: CancellationToken) {
        let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopping = stop.is_cancelled();
            let beat = tokio::select! {
                biased;
                () = self.lease.lost.cancelled() => return,
                _ = beats.tick() => true,
                () = self.wake.notified() => false,
                () = stop.cancelled() => false,
            };
            let failed = self.publish(log.as_ref(), sessions, clock, beat).await.is_err();
            if stopping {
                return;
            }
            if failed {
                stop.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await;
                self.wake.notify_one();
            }
        }
    }

    async fn publish(&self, log: &dyn Log, sessions: &Sessions, clock: &Clock, beat: bool) -> Result<(), ()> {
        let (users, count) = {
            let mut changed = locked(&self.changed);
            (std::mem::take(&mut changed.users), changed.count)
        };
        let (epoch, at) = (self.lease.epoch, clock.now_ms());
        let slot = i32::try_from(self.lease.slot).unwrap_or(i32::MAX);
        let mut encoder = Encoder::default();
        let mut put = |key, event| {
            if let Err(error) = encoder.put(&PRESENCE, &key, &event, Headers::default()) {
                tracing::error!(%error, "presence could not be encoded");
            }
        };
        if beat {
            put(PresenceKey::Slot(slot), PresenceEvent::Slot(Heartbeat { slot, epoch, at }));
        }
        for &user_id in &users {
            let online = sessions.is_online(user_id);
            let presence = Presence { user_id, slot, epoch, online, at };
            put(PresenceKey::User(user_id, slot), PresenceEvent::User(presence));
        }
        if !encoder.is_empty()
            && let Err(error) = log.append(encoder.finish()).await
        {
            match error.class() {
                // The health watch reports that the log is down, or full.
                Class::Retry => {
                    tracing::debug!(%error, users = users.len(), "presence could not be published: trying again")
                }
                Class::Abort | Class::Rebuild | Class::Fatal => {
                    tracing::error!(%error, users = users.len(), "presence could not be published: trying again");
                }
            }
            locked(&self.changed).users.extend(users);
            return Err(());
        }
        self.published.send_replace(count);
        Ok(())
    }
}
