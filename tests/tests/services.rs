//! The whole product beside what must be installed: Kafka, Redis, databases, a browser, programs of others.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed, and says its seed")]

#[path = "e2e/cache.rs"]
mod cache;
#[path = "e2e/grpc_reader.rs"]
mod grpc_reader;
#[path = "e2e/health.rs"]
mod health;
#[path = "e2e/kafka.rs"]
mod kafka;
#[path = "e2e/kafka_bad_input.rs"]
mod kafka_bad_input;
#[path = "e2e/page.rs"]
mod page;
#[path = "e2e/page_access.rs"]
mod page_access;
#[path = "e2e/page_log.rs"]
mod page_log;
#[path = "e2e/page_people.rs"]
mod page_people;
#[path = "e2e/page_sign_in.rs"]
mod page_sign_in;
#[path = "e2e/page_text.rs"]
mod page_text;
#[path = "e2e/readers.rs"]
mod readers;
#[path = "e2e/replaced.rs"]
mod replaced;
#[path = "e2e/scripts.rs"]
mod scripts;
#[path = "e2e/stores.rs"]
mod stores;
#[path = "e2e/takeover.rs"]
mod takeover;
#[path = "e2e/talk.rs"]
mod talk;
#[path = "e2e/tools.rs"]
mod tools;
#[path = "e2e/tools_bad_input.rs"]
mod tools_bad_input;
#[path = "e2e/walkthrough.rs"]
mod walkthrough;
