//! What a socket is to be sent: answers in the order of the client's frames, and frames that are ready. Counts their
//! bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures::SinkExt;

use crate::close_reason::CloseReason;
use crate::send_bytes::{Counted, SendBytes};
use crate::send_queue::{Socket, Taken};
use crate::socket::answers::Answer;

/// Frames for which a quiet socket keeps room: after a burst the memory is given back.
const ROOM_FRAMES: usize = 32;

pub(super) struct Outgoing {
    /// The front may still wait for the log.
    answers: VecDeque<Answer>,
    frames: VecDeque<Utf8Bytes>,
    /// Bytes of both.
    held: Counted,
}

impl Outgoing {
    pub(super) fn new(all: &Arc<SendBytes>) -> Self {
        Self { answers: VecDeque::new(), frames: VecDeque::new(), held: Counted::new(all, 0) }
    }

    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Frames that are ready.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.held.bytes()
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.held.add(answer.ready_bytes());
        self.answers.push_back(answer);
    }

    pub(super) fn send(&mut self, frame: Utf8Bytes) {
        self.held.add(frame.len());
        self.frames.push_back(frame);
    }

    pub(super) fn ping(&mut self) {
        // An empty text stands for a ping: no frame of our protocol is empty.
        self.frames.push_back(Utf8Bytes::default());
    }

    /// Adds what waits in the socket's queue. Returns whether the client has read everything before frames that were
    /// dropped.
    ///
    /// # Errors
    /// Why the socket is to be closed.
    pub(super) fn take_from(&mut self, socket: &Socket) -> Result<bool, CloseReason> {
        let Taken { bytes, caught_up } = socket.take(&mut self.frames, self.held.bytes())?;
        self.held.add(bytes);
        Ok(caught_up)
    }

    /// Waits until the first answer is ready, and adds its frame; for ever when there is none. Cancel-safe.
    pub(super) async fn answered(&mut self) {
        let Some(answer) = self.answers.front_mut() else { return std::future::pending().await };
        let held = answer.ready_bytes();
        let frame = answer.ready().await;
        self.answers.pop_front();
        self.held.subtract(held);
        frame.into_iter().for_each(|frame| self.send(frame));
    }

    /// Writes all frames with one flush.
    pub(super) async fn write_to(&mut self, stream: &mut WebSocket) -> Result<(), axum::Error> {
        let bytes = self.frames.iter().map(|frame| frame.len()).sum();
        for frame in self.frames.drain(..) {
            let message = if frame.is_empty() { Message::Ping(Default::default()) } else { Message::Text(frame) };
            stream.feed(message).await?;
        }
        stream.flush().await?;
        self.held.subtract(bytes);
        if self.frames.capacity() > ROOM_FRAMES {
            self.frames.shrink_to(ROOM_FRAMES);
        }
        Ok(())
    }

    /// Writes the answers to all frames read so far.
    pub(super) async fn settle(&mut self, stream: &mut WebSocket) -> Result<(), axum::Error> {
        while !self.answers.is_empty() {
            self.answered().await;
        }
        self.write_to(stream).await
    }
}
