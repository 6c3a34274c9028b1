//! The log on a real Kafka: the contract, and what is its own.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "topics/contract/mod.rs"]
mod contract;
#[path = "topics/kafka/mod.rs"]
mod kafka;
