//! The runner and the chain in one process, on the embedded log and SQLite: restoring, retrying,
//! setting aside, stopping.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audit;
mod by_hand;
mod chain;
mod configuration;
mod runner;
mod settings;
mod simulation;
