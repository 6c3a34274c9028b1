//! The composition root: the only crate that reads configuration, environment and command line,
//! that starts telemetry and wires stages to topics. Everything below takes plain values.

pub mod absent;
pub mod audit;
mod cache;
pub mod cli;
pub mod commands;
pub mod config;
mod coordination;
pub mod database_url;
mod disk;
pub mod health;
mod listen;
pub mod log;
mod log_lines;
mod members;
mod memory;
mod open_files;
pub mod pairing;
mod place;
mod presence;
pub mod process;
pub mod role;
pub mod runner;
pub mod stop;
pub mod store;
mod supervisor;
pub mod tasks;
pub mod telemetry;
pub mod topology;
