//! Refuses heads with bare LF.
//!
//! A proxy that ends lines at CRLF alone sees another head where hyper also ends them at LF: what one takes for a value,
//! the other takes for the next line. hyper has no setting for it, so this reads between the connection and hyper. It
//! passes on one head at a time, and a NUL instead of a bare LF, which hyper refuses with 400. What follows a head passes
//! as it is, as long as the body is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use listener::Seat;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at once while a head comes.
const READ_BYTES: usize = 4 * 1_024;
/// Everything from here on is no head: a body of unknown length, or no HTTP.
const TO_THE_END: u64 = u64::MAX;

/// The length of the body behind the head that was passed on last. Clones share it.
#[derive(Debug, Clone)]
pub struct BodyLength(Arc<AtomicU64>);

impl Default for BodyLength {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(TO_THE_END)))
    }
}

impl BodyLength {
    /// Sets the length; without one, no further head is looked for.
    pub fn set(&self, bytes: Option<u64>) {
        self.0.store(bytes.unwrap_or(TO_THE_END), Ordering::Relaxed);
    }
}

/// What hyper reads of a connection.
pub struct Heads<S> {
    stream: S,
    body: BodyLength,
    /// The head that is being read; `None` behind it.
    head: Option<Head>,
    /// What was read and not passed on yet.
    ahead: Vec<u8>,
    /// A WebSocket takes it over with the connection.
    _seat: Arc<Seat>,
}

/// How far a head is read.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    has_lines: bool,
    line_bytes: usize,
    ends_in_cr: bool,
}

impl Head {
    /// Reads a byte: what is passed on for it, and whether the head ends with it.
    fn read(&mut self, byte: u8) -> (u8, bool) {
        let Self { has_lines, line_bytes, ends_in_cr } = *self;
        match byte {
            b'\n' if !ends_in_cr => (b'\0', false),
            b'\n' => {
                let is_empty = line_bytes == 1;
                // Empty lines may stand before a head (RFC 9112, section 2.2).
                *self = Self { has_lines: has_lines || !is_empty, ..Self::default() };
                (byte, has_lines && is_empty)
            }
            _ => {
                *self = Self { has_lines, line_bytes: line_bytes + 1, ends_in_cr: byte == b'\r' };
                (byte, false)
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Heads<S> {
    pub fn new(stream: S, body: BodyLength, seat: Arc<Seat>) -> Self {
        Self { stream, body, head: Some(Head::default()), ahead: Vec::new(), _seat: seat }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    /// Passes on what was read, up to the end of the head or body.
    fn pass(&mut self, buf: &mut ReadBuf<'_>) {
        let mut most = self.ahead.len().min(buf.remaining());
        let length = self.body.0.load(Ordering::Relaxed);
        if let Some(head) = &mut self.head {
            let end = self.ahead[..most].iter_mut().position(|byte| {
                let (passed, ends) = head.read(*byte);
                *byte = passed;
                ends
            });
            if let Some(last) = end {
                (most, self.head) = (last + 1, None);
                // Until the length of its body is known.
                self.body.set(None);
            }
        } else if length != TO_THE_END {
            most = most.min(usize::try_from(length).unwrap_or(usize::MAX));
            self.body.set(Some(length - most as u64));
        }
        buf.put_slice(&self.ahead[..most]);
        self.ahead.drain(..most);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head.is_none() {
            match this.body.0.load(Ordering::Relaxed) {
                TO_THE_END if this.ahead.is_empty() => return Pin::new(&mut this.stream).poll_read(cx, buf),
                0 => this.head = Some(Head::default()),
                _ => {}
            }
        }
        if this.ahead.is_empty() {
            ready!(this.poll_fill(cx))?;
        }
        this.pass(buf);
        Poll::Ready(Ok(()))
    }
}
