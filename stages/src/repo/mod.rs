//! The repo: everything said, by whom and where, in a database; read over gRPC.
//!
//! [`store`] is the seam to the database, in the words of [`model`]; [`sqlite`] keeps it in a file.
//! Messages enter only by the chain, through the persist stage.

pub mod digest;
pub mod group_rules;
pub mod model;
pub mod sqlite;
pub mod store;
