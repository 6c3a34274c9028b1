//! The repo: its store, its stage, its services.

mod auth;
mod contract;
mod fixtures;
mod keys;
mod outbox;
mod persist;
mod served;
mod services;
mod sqlite;
