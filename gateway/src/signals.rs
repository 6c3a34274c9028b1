//! Signals between users, which are not stored and may be lost: typing and presence. Typing reaches sockets of this
//! gateway only; presence is that of all gateways.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use schemas::ids::{ConversationId, UserId};

use crate::frames;
use crate::sessions::{Sessions, Socket, locked};

#[derive(Debug, Default)]
pub struct Signals {
    /// The followers of each user. Bounded by how many users a socket may follow.
    followed: Mutex<HashMap<UserId, Followed>>,
}

#[derive(Debug)]
struct Followed {
    /// The presence that followers were last sent.
    online: bool,
    followers: Vec<Arc<Socket>>,
}

impl Signals {
    /// Signals to the other members that one of them is typing.
    pub fn typing(&self, sessions: &Sessions, conversation: ConversationId, typist: UserId, members: &[UserId]) {
        let frame = frames::typing(&conversation.to_string(), typist);
        for &member in members.iter().filter(|&&member| member != typist) {
            sessions.for_user(member, |socket| socket.push(frame.clone()));
        }
    }

    /// Signals a user's presence to the followers, if it has changed.
    pub fn presence(&self, user: UserId, is_online: impl Fn(UserId) -> bool, now_ms: i64) {
        if let Some(followed) = locked(&self.followed).get_mut(&user) {
            followed.tell(user, is_online(user), now_ms);
        }
    }

    /// Does the same for every followed user.
    pub fn presences(&self, is_online: impl Fn(UserId) -> bool, now_ms: i64) {
        for (&user, followed) in locked(&self.followed).iter_mut() {
            followed.tell(user, is_online(user), now_ms);
        }
    }

    /// Lets a socket follow these users in place of those before. Returns their presence.
    pub fn follow(
        &self,
        socket: &Arc<Socket>,
        before: &[UserId],
        users: &[UserId],
        is_online: impl Fn(UserId) -> bool,
        now_ms: i64,
    ) -> Vec<(UserId, bool)> {
        let mut all = locked(&self.followed);
        for user in before {
            forget(&mut all, *user, socket);
        }
        let add = |&user: &UserId| {
            let online = is_online(user);
            let followed = all.entry(user).or_insert_with(|| Followed { online, followers: Vec::new() });
            followed.tell(user, online, now_ms);
            followed.followers.push(socket.clone());
            (user, online)
        };
        users.iter().map(add).collect()
    }

    pub fn unfollow(&self, socket: &Socket, users: &[UserId]) {
        let mut all = locked(&self.followed);
        for user in users {
            forget(&mut all, *user, socket);
        }
    }
}

impl Followed {
    fn tell(&mut self, user: UserId, online: bool, now_ms: i64) {
        if self.online != online {
            self.online = online;
            let frame = frames::presence(None, user, online, Some(now_ms));
            self.followers.iter().for_each(|socket| socket.push(frame.clone()));
        }
    }
}

fn forget(all: &mut HashMap<UserId, Followed>, user: UserId, socket: &Socket) {
    if let Some(followed) = all.get_mut(&user) {
        followed.followers.retain(|other| other.identity.socket != socket.identity.socket);
        if followed.followers.is_empty() {
            all.remove(&user);
        }
    }
}
