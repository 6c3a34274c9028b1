//! The whole product from outside: the binary as a process, clients over HTTP and WebSocket, a
//! browser; judged by the named invariants.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod chat;
mod crash;
mod page;
mod start;
