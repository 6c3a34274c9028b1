//! Tests of logs: the contract that every log keeps, run against each, and what is each
//! log's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod contract;
mod embedded;
mod timed;
