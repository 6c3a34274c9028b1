//! The repo: its store, its stage, its services.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod contract;
mod databases;
mod fixtures;
mod keys;
mod mariadb;
mod outbox;
mod persist;
mod postgres;
mod served;
mod servers;
mod services;
mod sqlite;
