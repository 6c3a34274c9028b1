//! The fault harness: an installation under steady load, to which the worst happens, again and again,
//! by a seed; judged by the named invariants from what clients saw, what the store holds and what the
//! topics hold.
//!
//! `scene` is an installation (`stand`, with its `store`) with a `cast` of clients, an open-loop `load` and the `books`
//! that keep the evidence, a few bytes a message. `fault` lists what can happen and when, `inject` makes
//! it happen, `damage` does it to files. `run` is the course of a whole run, `backpressure` one in which a
//! stage stands still, `report` the result.

pub mod auditor;
pub mod backpressure;
pub mod books;
pub mod cast;
pub mod damage;
pub mod fault;
pub mod inject;
pub mod load;
pub mod observe;
pub mod pauses;
pub mod report;
pub mod run;
pub mod scene;
pub mod stand;
pub mod store;
pub mod topics_hold;
pub mod usage;
