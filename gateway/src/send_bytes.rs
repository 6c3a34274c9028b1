//! The bytes of frames that wait for all sockets together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::GatewayConfig;

/// The bytes of frames that wait for all sockets of this gateway.
///
/// Half of them is for all sockets together, the other half is divided among as many as may be open: a socket that
/// holds less than its part gets its frames whatever others hold.
#[derive(Debug)]
pub struct SendBytes {
    used: AtomicUsize,
    together_max: usize,
    part_of_a_socket: usize,
}

impl SendBytes {
    pub fn new(config: &GatewayConfig) -> Self {
        let together_max = config.send_queues_bytes_max / 2;
        Self { used: AtomicUsize::new(0), together_max, part_of_a_socket: together_max / config.sockets_max.max(1) }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts bytes of frames that are still to be made. `None`: too much waits for all sockets.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Counted> {
        let counted = Counted::new(self, bytes);
        (self.used() <= self.together_max).then_some(counted)
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct Counted {
    bytes: usize,
    all: Arc<SendBytes>,
}

impl Counted {
    pub fn new(all: &Arc<SendBytes>, bytes: usize) -> Self {
        all.used.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, all: all.clone() }
    }

    /// Whether so many bytes more have room, of a socket that holds so many.
    pub fn fits(&self, held_by_socket: usize, bytes: usize) -> bool {
        let SendBytes { together_max, part_of_a_socket, .. } = *self.all;
        held_by_socket + bytes <= part_of_a_socket || self.all.used() + bytes <= together_max
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn subtract(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.all.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.subtract(self.bytes);
    }
}
