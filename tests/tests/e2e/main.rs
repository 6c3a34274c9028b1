//! The whole product from outside: the binary as a process, clients over HTTP and WebSocket, a
//! browser; judged by the named invariants.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed, and says its seed")]

mod bad_input;
mod cache;
mod chat;
mod configuration;
mod edges;
mod group_events;
mod grpc_reader;
mod health;
mod kafka;
mod kafka_bad_input;
mod lost_output;
mod page;
mod page_access;
mod page_log;
mod page_people;
mod page_sign_in;
mod page_text;
mod readers;
mod receipts;
mod replaced;
mod rights;
mod scripts;
mod sign_in;
mod start;
mod stores;
mod takeover;
mod talk;
mod tools;
mod tools_bad_input;
mod walkthrough;
