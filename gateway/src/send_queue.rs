//! The queue of frames of a socket, bounded in frames and in bytes.
//!
//! What does not fit is dropped, and so is everything after it, until the client has read what was queued: the socket is
//! behind. Then its task asks the repo for heads, and the client syncs. A socket that stays behind for too long is
//! closed.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use schemas::ids::UserId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use topics::headers::TraceParent;

use crate::close_reason::CloseReason;
use crate::config::GatewayConfig;
use crate::lock::locked;
use crate::send_bytes::{Counted, SendBytes};

#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique in this process.
    pub socket: u64,
    pub user: UserId,
    pub session_id: i64,
    /// What its messages count to.
    pub address: IpAddr,
    /// The client's trace for its messages.
    pub trace: Option<TraceParent>,
}

#[cfg(test)]
impl Identity {
    /// A socket of user 1.
    pub fn of_socket(socket: u64) -> Self {
        Self { socket, user: UserId(1), session_id: 7, address: [127, 0, 0, 1].into(), trace: None }
    }
}

/// A socket as the rest of the gateway sees it: a queue of frames.
#[derive(Debug)]
pub struct Socket {
    pub identity: Identity,
    queue: Mutex<Queue>,
    limits: Limits,
    wake: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    frames_max: usize,
    bytes_max: usize,
    behind_max: Duration,
}

#[derive(Debug)]
enum Queue {
    Open(Waiting),
    Closing(CloseReason),
}

#[derive(Debug)]
struct Waiting {
    frames: VecDeque<Utf8Bytes>,
    bytes: Counted,
    /// Bytes that the socket's task has taken or made, and not yet written.
    held: usize,
    /// Since when frames are dropped.
    behind: Option<Instant>,
}

/// What a socket's task took from its queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    pub bytes: usize,
    /// Frames were dropped, and all before them are written.
    pub caught_up: bool,
}

impl Socket {
    pub fn new(identity: Identity, config: &GatewayConfig, all: &Arc<SendBytes>) -> Self {
        let waiting = Waiting { frames: VecDeque::new(), bytes: Counted::new(all, 0), held: 0, behind: None };
        let limits = Limits {
            frames_max: config.send_queue_frames_max,
            bytes_max: config.send_queue_bytes_max,
            behind_max: Duration::from_secs(config.behind_s),
        };
        Self { identity, queue: Mutex::new(Queue::Open(waiting)), limits, wake: Notify::new() }
    }

    /// Queues a frame, or drops it where it does not fit or the socket is behind.
    pub fn push(&self, frame: Utf8Bytes) {
        let mut queue = locked(&self.queue);
        let Queue::Open(waiting) = &mut *queue else { return };
        if waiting.behind.is_none() && waiting.fits(&self.limits, frame.len()) {
            waiting.bytes.add(frame.len());
            waiting.frames.push_back(frame);
            if waiting.frames.len() > 1 {
                return; // The first one woke the socket.
            }
        } else {
            metrics::counter!("gochat_socket_frames_dropped_total").increment(1);
            if waiting.behind.is_some() {
                return;
            }
            waiting.behind = Some(Instant::now());
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

    /// Moves the waiting frames into `out`. `held` are the bytes that the caller has already.
    ///
    /// # Errors
    /// Why the socket is to be closed.
    pub fn take(&self, out: &mut VecDeque<Utf8Bytes>, held: usize) -> Result<Taken, CloseReason> {
        match &mut *locked(&self.queue) {
            Queue::Open(waiting) => {
                let caught_up = out.is_empty() && waiting.frames.is_empty() && waiting.behind.take().is_some();
                if out.is_empty() {
                    std::mem::swap(&mut waiting.frames, out);
                } else {
                    out.append(&mut waiting.frames);
                }
                let bytes = waiting.bytes.bytes();
                waiting.bytes.subtract(bytes);
                waiting.held = held + bytes;
                Ok(Taken { bytes, caught_up })
            }
            Queue::Closing(reason) => Err(*reason),
        }
    }

    /// How many frames wait.
    pub fn waiting(&self) -> usize {
        match &*locked(&self.queue) {
            Queue::Open(waiting) => waiting.frames.len(),
            Queue::Closing(_) => 0,
        }
    }

    /// Waits until there may be something to take.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the socket is to be closed: also when it was behind for too long.
    pub async fn closing(&self) -> CloseReason {
        loop {
            let behind = match &*locked(&self.queue) {
                Queue::Open(waiting) => waiting.behind,
                Queue::Closing(reason) => return *reason,
            };
            match behind {
                None => self.wake.notified().await,
                Some(since) => {
                    if timeout_at(since + self.limits.behind_max, self.wake.notified()).await.is_err() {
                        return CloseReason::TooSlow;
                    }
                }
            }
        }
    }
}

impl Waiting {
    fn fits(&self, limits: &Limits, bytes: usize) -> bool {
        let held = self.held + self.bytes.bytes();
        self.frames.len() < limits.frames_max && held + bytes <= limits.bytes_max && self.bytes.fits(held, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: fn() -> GatewayConfig = || GatewayConfig {
        send_queue_frames_max: 3,
        send_queue_bytes_max: 100,
        send_queues_bytes_max: 400,
        sockets_max: 20,
        ..GatewayConfig::default()
    };

    fn socket(config: &GatewayConfig, all: &Arc<SendBytes>) -> Socket {
        Socket::new(Identity::of_socket(1), config, all)
    }

    fn frame(bytes: usize) -> Utf8Bytes {
        "a".repeat(bytes).into()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_until_all_is_written() {
        for (bytes, fit) in [(1, 3), (40, 2), (101, 0)] {
            let (config, mut out) = (CONFIG(), VecDeque::new());
            let all = Arc::new(SendBytes::new(&config));
            let socket = socket(&config, &all);
            (0..5).for_each(|_| socket.push(frame(bytes)));
            let taken = socket.take(&mut out, 0).unwrap();
            assert_eq!((out.len(), taken.bytes), (fit, fit * bytes));
            assert_eq!(taken.caught_up, fit == 0, "{bytes}");
            if fit > 0 {
                socket.push(frame(1));
                assert_eq!(socket.take(&mut out, fit * bytes), Ok(Taken { bytes: 0, caught_up: false }));
                out.clear();
                assert_eq!(socket.take(&mut out, 0), Ok(Taken { bytes: 0, caught_up: true }));
            }
            socket.push(frame(1));
            assert_eq!(socket.take(&mut out, 0), Ok(Taken { bytes: 1, caught_up: false }));
            assert_eq!(all.used(), 0);
        }
    }

    #[tokio::test]
    async fn bytes_that_the_task_holds_count_until_they_are_written() {
        let config = CONFIG();
        let all = Arc::new(SendBytes::new(&config));
        let (socket, mut out) = (socket(&config, &all), VecDeque::from([frame(70)]));
        assert_eq!(socket.take(&mut out, 70).unwrap().bytes, 0);
        socket.push(frame(31));
        assert_eq!(socket.waiting(), 0);
    }

    #[tokio::test]
    async fn a_socket_gets_its_part_when_others_hold_all_the_rest() {
        let config = CONFIG();
        let all = Arc::new(SendBytes::new(&config));
        let (socket, mut out) = (socket(&config, &all), VecDeque::new());
        let others = all.reserve(200).unwrap();
        assert!(all.reserve(1).is_none());
        socket.push(frame(10));
        socket.push(frame(1));
        assert_eq!(socket.take(&mut out, 0).unwrap().bytes, 10, "a twentieth of 200");
        out.clear();
        drop(others);
        socket.take(&mut out, 0).unwrap();
        socket.push(frame(90));
        assert_eq!(all.used(), 90);
        socket.close(CloseReason::Replaced);
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_stays_behind_is_closed() {
        let config = GatewayConfig { behind_s: 7, ..CONFIG() };
        let socket = socket(&config, &Arc::new(SendBytes::new(&config)));
        let start = Instant::now();
        (0..4).for_each(|_| socket.push(frame(1)));
        assert_eq!(socket.closing().await, CloseReason::TooSlow);
        assert_eq!(start.elapsed(), Duration::from_secs(7));
        socket.close(CloseReason::GoingAway);
        socket.close(CloseReason::LoggedOut);
        assert_eq!(socket.take(&mut VecDeque::new(), 0), Err(CloseReason::GoingAway), "the first reason counts");
    }
}
