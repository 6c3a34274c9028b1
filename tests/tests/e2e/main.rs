//! The whole product from outside: the binary as a process, clients over HTTP and WebSocket.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed, and says its seed")]

mod bad_input;
mod chat;
mod configuration;
mod connections;
mod edges;
mod group_events;
mod hostile;
mod lost_output;
mod receipts;
mod retention;
mod rights;
mod sign_in;
mod start;
