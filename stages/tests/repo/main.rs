//! The repo: its store, its stage, its services.

mod contract;
mod fixtures;
mod persist;
mod sqlite;
