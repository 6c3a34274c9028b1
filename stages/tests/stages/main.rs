//! The stages, each alone: driven with batches, aborted, crashed and restored.

mod dedupe;
mod id_assign;
mod records;
