//! `gochat bench`.

mod cache;
mod chain;
mod stage;

pub use cache::cache;
pub use chain::chain;
pub use stage::stage;
