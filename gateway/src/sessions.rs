//! The connected sockets by user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use schemas::ids::UserId;

use crate::close_reason::CloseReason;
use crate::lock::locked;
use crate::send_queue::Socket;

/// Locks of a table by user.
pub const SHARDS: usize = 64;

/// Whether the user's presence changes with a socket that opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChange {
    /// The first socket came, or the last one left.
    Changed,
    /// The user has other sockets.
    Unchanged,
}

/// All sockets of this gateway, by user.
#[derive(Debug)]
pub struct Sessions {
    shards: Vec<Mutex<HashMap<UserId, Vec<Arc<Socket>>>>>,
    sockets_a_user_max: usize,
    open: AtomicUsize,
}

impl Sessions {
    pub fn new(sockets_a_user_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, sockets_a_user_max: sockets_a_user_max.max(1), open: AtomicUsize::new(0) }
    }

    /// Adds a socket. At the user's limit it replaces the oldest one.
    pub fn add(&self, socket: Arc<Socket>) -> UserChange {
        let mut shard = locked(self.shard(socket.identity.user));
        let sockets = shard.entry(socket.identity.user).or_default();
        let change = if sockets.is_empty() { UserChange::Changed } else { UserChange::Unchanged };
        if sockets.len() >= self.sockets_a_user_max {
            sockets.remove(0).close(CloseReason::Replaced);
        } else {
            metrics::gauge!("gochat_sockets_open").set(self.open.fetch_add(1, Ordering::Relaxed) as f64 + 1.0);
        }
        sockets.push(socket);
        change
    }

    pub fn remove(&self, socket: &Socket) -> UserChange {
        let mut shard = locked(self.shard(socket.identity.user));
        let Some(sockets) = shard.get_mut(&socket.identity.user) else { return UserChange::Unchanged };
        let Some(at) = sockets.iter().position(|other| other.identity.socket == socket.identity.socket) else {
            return UserChange::Unchanged;
        };
        sockets.remove(at);
        metrics::gauge!("gochat_sockets_open").set(self.open.fetch_sub(1, Ordering::Relaxed) as f64 - 1.0);
        if sockets.is_empty() {
            shard.remove(&socket.identity.user);
            return UserChange::Changed;
        }
        UserChange::Unchanged
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Frames in the longest queue.
    pub fn longest_queue(&self) -> usize {
        let mut longest = 0;
        self.for_all(|socket| longest = longest.max(socket.waiting()));
        longest
    }

    /// Whether a user is connected here.
    pub fn is_online(&self, user: UserId) -> bool {
        locked(self.shard(user)).contains_key(&user)
    }

    /// Calls `visit` with each socket of a user.
    pub fn for_user(&self, user: UserId, mut visit: impl FnMut(&Socket)) {
        if let Some(sockets) = locked(self.shard(user)).get(&user) {
            sockets.iter().for_each(|socket| visit(socket));
        }
    }

    /// Calls `visit` with each socket.
    pub fn for_all(&self, mut visit: impl FnMut(&Socket)) {
        for shard in &self.shards {
            locked(shard).values().flatten().for_each(|socket| visit(socket));
        }
    }

    /// Closes the sockets that a sign-in opened.
    pub fn log_out(&self, user: UserId, session_id: i64) {
        self.for_user(user, |socket| {
            if socket.identity.session_id == session_id {
                socket.close(CloseReason::LoggedOut);
            }
        });
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Vec<Arc<Socket>>>> {
        &self.shards[shard_of(user)]
    }
}

pub fn shard_of(user: UserId) -> usize {
    // Ids are Snowflakes, whose low bits are often the same: multiply, and take the high bits.
    let hash = user.0.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
    usize::try_from(hash).unwrap_or(0) % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::GatewayConfig;
    use crate::send_bytes::SendBytes;
    use crate::send_queue::Identity;

    fn socket(id: u64) -> Arc<Socket> {
        let config = GatewayConfig::default();
        let all = Arc::new(SendBytes::new(&config));
        Arc::new(Socket::new(Identity::of_socket(id), &config, &all))
    }

    #[test]
    fn a_user_comes_with_the_first_socket_and_leaves_with_the_last() {
        let sessions = Sessions::new(2);
        let (a, b, c) = (socket(1), socket(2), socket(3));
        assert_eq!(sessions.add(a.clone()), UserChange::Changed);
        assert_eq!(sessions.add(b.clone()), UserChange::Unchanged);
        assert_eq!(sessions.add(c.clone()), UserChange::Unchanged);
        assert_eq!(a.take(&mut VecDeque::new(), 0), Err(CloseReason::Replaced), "the oldest made room");
        assert_eq!(sessions.open(), 2);
        assert_eq!(sessions.remove(&a), UserChange::Unchanged);
        assert_eq!(sessions.remove(&b), UserChange::Unchanged);
        assert!(sessions.is_online(UserId(1)));
        assert_eq!(sessions.remove(&c), UserChange::Changed);
        assert!(!sessions.is_online(UserId(1)));
        assert_eq!(sessions.open(), 0);
    }
}
