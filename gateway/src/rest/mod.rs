//! The REST calls under `/api`.

pub mod account;
pub mod auth;
pub mod conversations;
pub mod groups;
mod params;
pub mod users;
