//! The auditor on a real Kafka.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "pipeline/audit/on_kafka.rs"]
mod audit;
#[path = "pipeline/by_hand.rs"]
mod by_hand;
