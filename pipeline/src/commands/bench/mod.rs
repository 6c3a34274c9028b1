//! `gochat bench`.

mod chain;
mod stage;

pub use chain::chain;
pub use stage::stage;
