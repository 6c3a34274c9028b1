//! What `gochat bench` measures with: workloads, clocks of wall and processor time, reports.
//!
//! Everything here is seeded and bounded. Figures are ratios to a baseline of the same run wherever
//! there is one: machines differ, and most are shared.

pub mod bare_sql;
pub mod cache;
pub mod client;
pub mod copy;
pub mod delivered;
pub mod held;
pub mod hops;
#[cfg(feature = "kafka")]
pub mod kafka_copy;
pub mod latency;
pub mod limits;
pub mod report;
pub mod scratch;
pub mod stage;
pub mod store;
pub mod talk;
pub mod threads;
pub mod usage;
pub mod workload;
pub mod zipf;
