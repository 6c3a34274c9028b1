//! The connected sockets by user, and the bounded queue of frames of each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use schemas::ids::UserId;
use tokio::sync::Notify;
use topics::headers::TraceParent;

use crate::close_reason::CloseReason;

const SHARDS: usize = 64;

#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique in this process.
    pub socket: u64,
    pub user: UserId,
    pub session_id: i64,
    /// The client's trace for its messages.
    pub trace: Option<TraceParent>,
}

/// A socket as the rest of the gateway sees it: a queue of frames.
#[derive(Debug)]
pub struct Socket {
    pub identity: Identity,
    queue: Mutex<Queue>,
    frames_max: usize,
    wake: Notify,
}

#[derive(Debug)]
enum Queue {
    Open(VecDeque<Utf8Bytes>),
    Closing(CloseReason),
}

impl Socket {
    /// A socket whose queue holds up to `frames_max` frames.
    pub fn new(identity: Identity, frames_max: usize) -> Self {
        Self { identity, queue: Mutex::new(Queue::Open(VecDeque::new())), frames_max, wake: Notify::new() }
    }

    /// Queues a frame. A full queue closes the socket with [`CloseReason::TooSlow`].
    pub fn push(&self, frame: Utf8Bytes) {
        let mut queue = locked(&self.queue);
        match &mut *queue {
            Queue::Open(frames) if frames.len() < self.frames_max => {
                frames.push_back(frame);
                if frames.len() > 1 {
                    return; // The first one woke the socket.
                }
            }
            Queue::Open(_) => *queue = Queue::Closing(CloseReason::TooSlow),
            Queue::Closing(_) => return,
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Closes the socket; the first reason counts.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = locked(&self.queue);
        if let Queue::Open(_) = &*queue {
            *queue = Queue::Closing(reason);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Moves the waiting frames into `out`.
    ///
    /// # Errors
    /// Why the socket is to be closed.
    pub fn take(&self, out: &mut VecDeque<Utf8Bytes>) -> Result<(), CloseReason> {
        match &mut *locked(&self.queue) {
            Queue::Open(frames) if out.is_empty() => std::mem::swap(frames, out),
            Queue::Open(frames) => out.append(frames),
            Queue::Closing(reason) => return Err(*reason),
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        match &*locked(&self.queue) {
            Queue::Open(frames) => frames.len(),
            Queue::Closing(_) => 0,
        }
    }

    /// Waits until there may be something to take.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the socket is to be closed.
    pub async fn closing(&self) -> CloseReason {
        loop {
            if let Queue::Closing(reason) = &*locked(&self.queue) {
                return *reason;
            }
            self.wake.notified().await;
        }
    }
}

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
        // Ids are Snowflakes, whose low bits are often the same: multiply, and take the high bits.
        let hash = user.0.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
        &self.shards[usize::try_from(hash).unwrap_or(0) % SHARDS]
    }
}

/// Locks, also when poisoned: no code that holds one of these locks can panic half-way.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(user: i64, id: u64, frames_max: usize) -> Arc<Socket> {
        let identity = Identity { socket: id, user: UserId(user), session_id: 7, trace: None };
        Arc::new(Socket::new(identity, frames_max))
    }

    #[test]
    fn a_full_queue_closes_its_socket_and_keeps_its_bound() {
        let socket = socket(1, 1, 3);
        let mut out = VecDeque::new();
        for _ in 0..3 {
            socket.push("a".into());
        }
        socket.take(&mut out).unwrap();
        assert_eq!(out.len(), 3);
        for _ in 0..4 {
            socket.push("a".into());
        }
        assert_eq!(socket.take(&mut out), Err(CloseReason::TooSlow));
        socket.close(CloseReason::GoingAway);
        assert_eq!(socket.take(&mut out), Err(CloseReason::TooSlow), "the first reason counts");
    }

    #[test]
    fn a_user_comes_with_the_first_socket_and_leaves_with_the_last() {
        let sessions = Sessions::new(2);
        let (a, b, c) = (socket(1, 1, 1), socket(1, 2, 1), socket(1, 3, 1));
        assert_eq!(sessions.add(a.clone()), UserChange::Changed);
        assert_eq!(sessions.add(b.clone()), UserChange::Unchanged);
        assert_eq!(sessions.add(c.clone()), UserChange::Unchanged);
        assert_eq!(a.take(&mut VecDeque::new()), Err(CloseReason::Replaced), "the oldest made room");
        assert_eq!(sessions.open(), 2);
        assert_eq!(sessions.remove(&a), UserChange::Unchanged);
        assert_eq!(sessions.remove(&b), UserChange::Unchanged);
        assert!(sessions.is_online(UserId(1)));
        assert_eq!(sessions.remove(&c), UserChange::Changed);
        assert!(!sessions.is_online(UserId(1)));
        assert_eq!(sessions.open(), 0);
    }
}
