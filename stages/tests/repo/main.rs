//! The repo: its store, its stage, its services.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod cache;
mod contract;
mod fixtures;
mod guarded;
mod keys;
mod outbox;
mod persist;
mod served;
mod services;
mod sqlite;
