//! The whole product from outside: the binary as a process, clients over HTTP and WebSocket, a
//! browser; judged by the named invariants.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed, and says its seed")]

mod bad_input;
mod chat;
mod kafka;
mod kafka_bad_input;
mod page;
mod readers;
mod start;
mod takeover;
mod talk;
