//! The repo: everything said, by whom and where, in a database; read over gRPC.
//!
//! [`store`] is the seam to the database, in the words of [`model`]; [`sqlite`] keeps it in a file,
//! [`postgres`] and [`mysql`] on a server. [`cached`] puts a [`cache`] before it, [`serve()`] the gRPC
//! services over it. Messages enter only by the chain: what is saved here goes
//! to the `upstream-messages` topic, as do changes of groups, by the [`outbox`]. The [`retention`] removes them.

pub mod address;
pub mod cache;
pub mod cached;
mod call;
mod coded;
pub mod config;
pub mod digest;
mod fair_queue;
pub mod group_rules;
pub mod guarded;
pub mod keys;
pub mod model;
pub mod multirow;
pub mod mysql;
pub mod outbox;
mod passwords;
pub mod postgres;
pub mod retention;
mod seated;
mod serve;
mod services;
mod single_flight;
mod sql;
pub mod sqlite;
pub mod store;

pub use config::RepoConfig;
pub use passwords::PasswordsUnusable;
pub use serve::{RepoError, serve};
pub use services::IsOnline;
pub use services::RepoParts;
pub use sql::{Access, ServerConfig, SqlStore};

/// Client stubs of the gRPC services.
pub mod client {
    pub use super::grpc::{
        auth_service_client, conversation_service_client, group_repo_client, message_repo_client, user_repo_client,
    };
}

/// Stubs generated from `repo.proto`.
#[allow(clippy::all, clippy::too_many_lines, reason = "generated; the .proto file carries the documentation")]
mod grpc {
    include!(concat!(env!("OUT_DIR"), "/gochat.repo.v1.rs"));
}
