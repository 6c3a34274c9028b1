//! What waits for the writer: bounded in bytes; over the bound callers wait.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock::locked;
use crate::log::LogError;

/// What a unit of room stands for. A call takes at least one, which bounds the number of calls too.
const UNIT_BYTES: usize = 1_024;

/// A queue from many async callers to one thread.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Arc<Semaphore>,
    units_max: u32,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<Waiting<T>>,
    closed: bool,
}

/// Something in the queue. Its room is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub work: T,
    /// How much of the bound it takes.
    pub bytes: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl<T> Waiting<T> {
    /// The work, and what gives its room back when it is dropped.
    pub fn into_parts(self) -> (T, Option<OwnedSemaphorePermit>) {
        (self.work, self.room)
    }
}

impl<T> Queue<T> {
    /// An empty queue that holds so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let units_max = u32::try_from(bytes_max.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).max(1);
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), closed: false }),
            arrived: Condvar::new(),
            room: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Adds work, once there is room for it.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub async fn push(&self, work: T, bytes: usize) -> Result<(), LogError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units_max);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| LogError::Closed)?;
        self.put(Waiting { work, bytes, room: Some(room) })
    }

    /// Adds work of the log's own, of which there is never more than one piece a thread.
    ///
    /// # Errors
    /// [`LogError::Closed`].
    pub fn push_own(&self, work: T) -> Result<(), LogError> {
        self.put(Waiting { work, bytes: 0, room: None })
    }

    fn put(&self, waiting: Waiting<T>) -> Result<(), LogError> {
        let mut state = locked(&self.state);
        if state.closed {
            return Err(LogError::Closed);
        }
        state.waiting.push_back(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Everything that waits, up to so many bytes but at least one. Waits for it. `None` once the
    /// queue is closed and empty.
    pub fn take(&self, bytes_max: usize) -> Option<Vec<Waiting<T>>> {
        let mut state = locked(&self.state);
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let mut taken = Vec::new();
        while let Some(next) = state.waiting.pop_front_if(|next| taken.is_empty() || bytes + next.bytes <= bytes_max) {
            bytes += next.bytes;
            taken.push(next);
        }
        Some(taken)
    }

    /// Bytes of what was pushed and is not done yet, and how many there may be; in whole units.
    pub fn held_bytes(&self) -> (usize, usize) {
        let units_max = self.units_max as usize;
        let units = units_max.saturating_sub(self.room.available_permits());
        (units * UNIT_BYTES, units_max * UNIT_BYTES)
    }

    /// Takes nothing more. What is in the queue is still handed out.
    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.room.close();
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_keeps_callers_waiting_until_there_is_room() {
        let queue = Queue::new(2 * UNIT_BYTES);
        queue.push(1, UNIT_BYTES).await.unwrap();
        queue.push(2, 1).await.unwrap();
        let third = tokio::time::timeout(Duration::from_secs(3_600), queue.push(3, 1)).await;
        assert!(third.is_err(), "a call was taken over the bound");
        let taken = queue.take(usize::MAX).unwrap();
        assert_eq!(taken.iter().map(|waiting| waiting.work).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.held_bytes(), (2 * UNIT_BYTES, 2 * UNIT_BYTES), "room is given back when the work is done");
        drop(taken);
        queue.push(3, usize::MAX).await.expect("a call larger than the bound takes all of it, and no more");
    }

    #[tokio::test]
    async fn a_closed_queue_hands_out_what_it_has_and_takes_nothing() {
        let queue = Queue::new(UNIT_BYTES);
        queue.push(1, 1).await.unwrap();
        queue.close();
        assert!(matches!(queue.push(2, 1).await, Err(LogError::Closed)));
        assert_eq!(queue.take(usize::MAX).map(|taken| taken.len()), Some(1));
        assert!(queue.take(usize::MAX).is_none());
    }

    #[tokio::test]
    async fn what_is_taken_at_once_is_bounded_in_bytes() {
        let queue = Queue::new(100 * UNIT_BYTES);
        for work in 0..4 {
            queue.push(work, 600).await.unwrap();
        }
        assert_eq!(queue.take(1_300).map(|taken| taken.len()), Some(2));
        assert_eq!(queue.take(1).map(|taken| taken.len()), Some(1));
    }
}
