//! The repo: its store, its stage, its services.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says its figures"
)]

mod auth;
mod bad_input;
mod big_group;
mod busy;
mod cache;
mod coded;
mod contract;
mod file_names;
mod fixtures;
mod guarded;
mod hooked_log;
mod keys;
mod outbox;
mod persist;
mod pool_gauges;
mod relays;
mod retention;
mod rights;
mod served;
mod services;
mod sqlite;
