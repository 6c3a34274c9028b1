//! The gateway from outside: a real listener, real sockets, a repo over real gRPC.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod closing;
mod connections;
mod delivery;
mod harness;
mod headers;
mod hostile;
mod log;
mod origins;
mod repo;
mod rest;
mod sending;
mod shapes;
mod sign_ins;
mod web;
