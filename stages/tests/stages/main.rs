//! The stages, each alone: driven with batches, aborted, crashed and restored.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod dedupe;
mod fan_out;
mod fan_out_groups;
mod groups;
mod id_assign;
mod invariants;
mod large_group;
mod presence;
mod records;
