//! The repo: its store, its stage, its services.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod bad_input;
mod big_group;
mod cache;
mod contract;
mod fixtures;
mod guarded;
mod hooked_log;
mod keys;
mod outbox;
mod persist;
mod relays;
mod rights;
mod served;
mod services;
mod sqlite;
