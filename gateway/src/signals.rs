//! What is told and forgotten: who types, who comes and goes. Lossy by design; never in the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use schemas::ids::{ConversationId, UserId};

use crate::frames;
use crate::sessions::{Sessions, Socket, locked};

/// Signals between the sockets of this gateway.
#[derive(Debug, Default)]
pub struct Signals {
    /// Who wants to hear of a user's presence. Bounded by what each socket may follow.
    followers: Mutex<HashMap<UserId, Vec<Arc<Socket>>>>,
}

impl Signals {
    /// Tells these users that one of them is typing.
    pub fn typing(&self, sessions: &Sessions, conversation: ConversationId, typist: UserId, members: &[UserId]) {
        let frame = frames::typing(&conversation.to_string(), typist);
        for &member in members.iter().filter(|&&member| member != typist) {
            sessions.for_user(member, |socket| socket.push(frame.clone()));
        }
    }

    /// Tells whoever follows a user that they came or left.
    pub fn presence(&self, user: UserId, online: bool, now_ms: i64) {
        if let Some(followers) = locked(&self.followers).get(&user) {
            let frame = frames::presence(None, user, online, Some(now_ms));
            followers.iter().for_each(|socket| socket.push(frame.clone()));
        }
    }

    /// From now on a socket hears of these users in place of those it followed before.
    pub fn follow(&self, socket: &Arc<Socket>, before: &[UserId], users: &[UserId]) {
        let mut followers = locked(&self.followers);
        for user in before {
            forget(&mut followers, *user, socket);
        }
        for &user in users {
            followers.entry(user).or_default().push(socket.clone());
        }
    }

    /// A socket that followed these users is gone.
    pub fn unfollow(&self, socket: &Socket, users: &[UserId]) {
        let mut followers = locked(&self.followers);
        for user in users {
            forget(&mut followers, *user, socket);
        }
    }
}

fn forget(followers: &mut HashMap<UserId, Vec<Arc<Socket>>>, user: UserId, socket: &Socket) {
    if let Some(sockets) = followers.get_mut(&user) {
        sockets.retain(|other| other.identity.socket != socket.identity.socket);
        if sockets.is_empty() {
            followers.remove(&user);
        }
    }
}
