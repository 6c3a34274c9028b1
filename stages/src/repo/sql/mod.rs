//! What the SQL stores share: everything but the statements over many rows.
//!
//! [`SqlStore`] is the [`Store`](super::store::Store) over connections of one database. It opens the transaction, bounds
//! its time and says what went wrong. What happens in it is written once, as methods of [`Session`](session::Session),
//! most of it in statements that are [translated](statement) for each dialect. [`tables`] is what a dialect has in its
//! own words (`repo/sqlite`, `repo/postgres`, `repo/mysql`).

mod batch;
mod conversations;
pub mod dialect;
pub mod fault;
mod groups;
mod identity;
mod members;
mod messages;
pub(super) mod migrations;
pub mod open;
mod outbox;
pub mod pools;
mod probe;
mod retention;
pub mod rows;
pub mod server;
pub mod session;
mod statement;
mod store;
pub mod tables;
mod tokens;
mod users;

pub use server::{Access, ServerConfig};
pub use store::SqlStore;
