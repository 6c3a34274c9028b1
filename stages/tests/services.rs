//! The stores on real servers, and the cache on a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says its figures"
)]

#[path = "repo/cache/on_redis.rs"]
mod cache;
#[path = "repo/contract/mod.rs"]
mod contract;
#[path = "repo/databases.rs"]
mod databases;
#[path = "repo/fixtures.rs"]
mod fixtures;
#[path = "repo/mariadb.rs"]
mod mariadb;
#[path = "../../tests/src/ports.rs"]
mod ports;
#[path = "repo/postgres.rs"]
mod postgres;
#[path = "repo/servers.rs"]
mod servers;
