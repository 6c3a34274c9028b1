//! Tests of logs: the contract that every log keeps, run against each, and what is the embedded
//! log's own.

mod contract;
mod embedded;
