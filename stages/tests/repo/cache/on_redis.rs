//! The cache on Redis: the contract, the store behind it, and a Redis that fails.

mod contract;
mod faults;
mod redis;
mod server;
mod store;
