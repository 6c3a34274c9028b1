//! The caches: one contract for each, the store behind each, and a Redis that fails.

mod contract;
mod faults;
mod in_process;
mod redis;
pub mod server;
mod store;
