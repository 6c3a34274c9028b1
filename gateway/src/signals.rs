//! Signals between users, which are not stored and may be lost: typing and presence. Typing reaches sockets of this
//! gateway only; presence is that of all gateways.
//!
//! One task tells followers of changes ([`Signals::tell`]): they see them in order, no lock is held meanwhile, and who
//! connects does not wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use schemas::ids::{ConversationId, UserId};
use tokio::sync::Notify;

use crate::frames;
use crate::lock::locked;
use crate::send_queue::Socket;
use crate::sessions::{SHARDS, Sessions, shard_of};

/// Frames after which the task that tells followers yields.
const TURN_FRAMES: usize = 256;

#[derive(Debug)]
pub struct Signals {
    /// The followed users, by shard. Bounded by how many users a socket may follow.
    followed: Vec<Mutex<HashMap<UserId, Followed>>>,
    /// Followed users whose presence may have changed.
    changed: Mutex<HashSet<UserId>>,
    wake: Notify,
}

#[derive(Debug)]
struct Followed {
    /// The presence that followers were last told, or are being told.
    online: bool,
    /// By the number of the socket.
    followers: HashMap<u64, Arc<Socket>>,
}

impl Default for Signals {
    fn default() -> Self {
        let followed = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { followed, changed: Mutex::default(), wake: Notify::new() }
    }
}

impl Signals {
    /// Signals to the other members that one of them is typing.
    pub fn typing(&self, sessions: &Sessions, conversation: ConversationId, typist: UserId, members: &[UserId]) {
        let frame = frames::typing(&conversation.to_string(), typist);
        for &member in members.iter().filter(|&&member| member != typist) {
            sessions.for_user(member, |socket| socket.push(frame.clone()));
        }
    }

    /// Notes that the presence of a user may have changed.
    pub fn changed(&self, user: UserId) {
        if locked(self.shard(user)).contains_key(&user) {
            locked(&self.changed).insert(user);
            self.wake.notify_one();
        }
    }

    /// Notes the same of every followed user.
    pub fn all_changed(&self) {
        for shard in &self.followed {
            let users: Vec<_> = locked(shard).keys().copied().collect();
            locked(&self.changed).extend(users);
        }
        self.wake.notify_one();
    }

    /// Waits until something may have changed.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells followers what has changed. Only one task may call it, or changes come out of order.
    pub async fn tell(&self, is_online: impl Fn(UserId) -> bool, now_ms: i64) {
        let changed = std::mem::take(&mut *locked(&self.changed));
        for user in changed {
            let Some((online, followers)) = self.changed_for(user, &is_online) else { continue };
            let frame = frames::presence(None, user, online, Some(now_ms));
            for turn in followers.chunks(TURN_FRAMES) {
                turn.iter().for_each(|socket| socket.push(frame.clone()));
                tokio::task::yield_now().await;
            }
        }
    }

    /// A user's presence, and who is to be told of it; `None` when they have been told.
    fn changed_for(&self, user: UserId, is_online: impl Fn(UserId) -> bool) -> Option<(bool, Vec<Arc<Socket>>)> {
        let mut shard = locked(self.shard(user));
        let followed = shard.get_mut(&user)?;
        let online = is_online(user);
        let news = online != followed.online;
        followed.online = online;
        news.then(|| (online, followed.followers.values().cloned().collect()))
    }

    /// Lets a socket follow these users. Returns their presence, as other followers know it.
    pub fn follow(
        &self,
        socket: &Arc<Socket>,
        users: &[UserId],
        is_online: impl Fn(UserId) -> bool,
    ) -> Vec<(UserId, bool)> {
        let add = |&user: &UserId| {
            let mut shard = locked(self.shard(user));
            // Asked while the shard is locked: a change from here on finds the user followed.
            let entry = shard.entry(user);
            let followed = entry.or_insert_with(|| Followed { online: is_online(user), followers: HashMap::new() });
            followed.followers.insert(socket.identity.socket, socket.clone());
            (user, followed.online)
        };
        users.iter().map(add).collect()
    }

    pub fn unfollow<'a>(&self, socket: &Socket, users: impl IntoIterator<Item = &'a UserId>) {
        for user in users {
            let mut shard = locked(self.shard(*user));
            if let Some(followed) = shard.get_mut(user) {
                followed.followers.remove(&socket.identity.socket);
                if followed.followers.is_empty() {
                    shard.remove(user);
                }
            }
        }
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Followed>> {
        &self.followed[shard_of(user)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::GatewayConfig;
    use crate::send_bytes::SendBytes;
    use crate::send_queue::Identity;

    const USER: UserId = UserId(7);

    fn told(socket: &Socket) -> usize {
        let mut out = VecDeque::new();
        socket.take(&mut out, 0).unwrap();
        out.len()
    }

    #[tokio::test]
    async fn every_follower_is_told_once_of_a_change_and_who_leaves_is_forgotten() {
        let (signals, config) = (Signals::default(), GatewayConfig::default());
        let all = Arc::new(SendBytes::new(&config));
        let socket = |socket| Arc::new(Socket::new(Identity::of_socket(socket), &config, &all));
        let sockets: Vec<_> = (0..2 * TURN_FRAMES as u64).map(socket).collect();
        for socket in &sockets {
            // Again, too: a socket follows a user once.
            signals.follow(socket, &[USER], |_| false);
            assert_eq!(signals.follow(socket, &[USER, UserId(8)], |_| true), [(USER, false), (UserId(8), true)]);
        }
        signals.changed(USER);
        signals.changed(UserId(9));
        assert_eq!(locked(&signals.changed).len(), 1, "nobody follows the other");
        signals.tell(|_| true, 0).await;
        assert!(sockets.iter().all(|socket| told(socket) == 1));
        signals.all_changed();
        signals.tell(|_| true, 0).await;
        assert!(sockets.iter().all(|socket| told(socket) == 0));
        for socket in &sockets {
            signals.unfollow(socket, &[USER, UserId(8)]);
        }
        assert!(signals.followed.iter().all(|shard| locked(shard).is_empty()));
    }
}
