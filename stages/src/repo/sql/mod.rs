//! What the SQL stores share: everything but the statements.
//!
//! [`SqlStore`] is the [`Store`](super::store::Store) over connections of one database. It opens the transaction, bounds
//! its time and says what went wrong; what happens in it is written once, over [`tables`], the
//! statements, which each dialect has in its own words (`repo/sqlite`, `repo/postgres`, `repo/mysql`).

mod batch;
mod conversations;
mod fault;
mod groups;
mod identity_table;
mod messages;
pub(super) mod migrations;
mod pools;
mod probe;
mod rows;
mod store;
pub mod tables;
mod token_table;
mod tokens;
mod users;

pub use fault::Fault;
pub(super) use identity_table::identity_table;
pub(super) use migrations::migrator;
pub use pools::{Pools, ServerConfig};
pub(super) use rows::message_columns;
use rows::parsed;
pub use rows::{
    GroupRow, MemberRow, MessageRow, OutboxColumns, RaisedRow, UserRow, credentials_of, group_of, limit_of, member_of,
    membership_of, message_of, messages_of, outbox_row_of, read_mark_of, role_named, sign_in_of, sliced_of, user_of,
};
pub(super) use store::explain;
pub use store::{Dialect, Outlook, SqlStore};
pub(super) use token_table::token_table;

/// How long bringing the tables up to date may take, waiting for another process to do it included.
pub const MIGRATION_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5 * 60);
