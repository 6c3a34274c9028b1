//! Ports of servers that a test starts for itself. They are chosen before the server is there, and it may be down for
//! a while and come back; nobody else may take them meanwhile, neither another test of this process nor another process.
//!
//! Tests of crates below this one include this file by its path.

use std::net::TcpListener;

/// Below the ports that the system gives to clients, one of which would take the port of a server that is down, and
/// below those of the servers that all tests share.
const FIRST: u16 = 21_000;
const BLOCKS: u16 = 160;
const BLOCK: u16 = 50;
/// Ports that `start-infra.sh --port-base` gives to its services, counted from the base.
const OF_SERVICES: [u16; 10] = [0, 1, 2, 10, 11, 12, 20, 30, 40, 41];
/// No server's: whoever listens there has the block.
const OF_HOLDER: u16 = 49;

/// A block of free ports, as `start-infra.sh --port-base` takes it. Held until dropped.
pub struct Ports {
    base: u16,
    _holder: TcpListener,
}

impl Ports {
    /// Takes a block that nobody has.
    pub fn reserve() -> Self {
        let first = (std::process::id() % u32::from(BLOCKS)) as u16;
        let bases = (0..BLOCKS).map(|n| FIRST + (first + n) % BLOCKS * BLOCK);
        bases.into_iter().find_map(Self::at).expect("one of the blocks is free")
    }

    /// The lowest of them.
    pub fn base(&self) -> u16 {
        self.base
    }

    fn at(base: u16) -> Option<Self> {
        let listen = |above: u16| TcpListener::bind(("127.0.0.1", base + above));
        let holder = listen(OF_HOLDER).ok()?;
        OF_SERVICES.iter().all(|&above| listen(above).is_ok()).then_some(Self { base, _holder: holder })
    }
}
