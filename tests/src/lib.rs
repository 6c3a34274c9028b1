//! What the tests of the whole product share: the real binary as a process, clients that follow the
//! protocol to the letter, and a browser.

pub mod api;
pub mod broker;
pub mod browser;
pub mod client;
pub mod ledger;
pub mod redis;
pub mod server;
