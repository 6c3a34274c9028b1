//! What the tests of the whole product share: the real binary as a process, clients that follow the
//! protocol to the letter, a browser, a broker, programs that others wrote, and the harness that
//! breaks things under load.

pub mod broker;
pub mod browser;
pub mod client;
pub mod faults;
pub mod foreign;
pub mod hostile;
pub mod installation;
pub mod ledger;
pub mod open_files;
pub mod page;
pub mod ports;
pub mod redis;
pub mod service;
pub mod stopped;
pub mod users;

pub use outside::{api, server};
