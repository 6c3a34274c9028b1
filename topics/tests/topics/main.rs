//! Tests of logs: the contract that every log keeps, run against each, and what is each
//! log's own.

mod contract;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
