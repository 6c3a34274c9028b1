//! The runner and the chain in one process, on the embedded log and SQLite: restoring, retrying,
//! setting aside, stopping.

mod chain;
mod runner;
