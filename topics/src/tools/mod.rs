//! What people look at topics with: overviews, records as JSON, dead letters and putting them back.
//!
//! Everything here reads through [`Log`](crate::log::Log) as any program would, and prints nothing.

pub mod condition;
pub mod dead_letters;
pub mod nearest;
pub mod overview;
pub mod redrive;
pub mod tail;
pub mod view;
