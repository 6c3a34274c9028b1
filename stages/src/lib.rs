//! The stages of the chain, each a function over a batch that is tested alone, and the repo, which
//! is the persistence stage's store read over gRPC.
//!
//! A stage knows no topic, no log, no clock and no thread ([`stage`]); the runner, one crate up,
//! gives it batches and commits what it makes.

pub mod dedupe;
pub mod dispatch;
pub mod driver;
pub mod fan_out;
pub mod id_assign;
pub mod invariants;
pub mod large_group;
pub mod membership;
pub mod persist;
pub mod presence;
pub mod repo;
pub mod stage;
pub mod stream;
