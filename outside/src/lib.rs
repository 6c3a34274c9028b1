//! The product from outside, for bench and tests: the binary as a process of its own, REST and WebSocket as a
//! client uses them. What goes wrong here ends a test, so it panics where the caller could only fail.

pub mod api;
pub mod server;
pub mod socket;
