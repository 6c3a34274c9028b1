//! The cache in this process: the contract, and the store behind it.

mod contract;
mod in_process;
mod store;
