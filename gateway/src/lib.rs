//! The edge of GoChat: sockets, REST, the web page.
//!
//! What a client sends is checked ([`admit`]), appended to the log together with what other sockets send
//! ([`appender`]), and acknowledged once it is durable. Deliveries from the slot's partition go to the sockets of their
//! recipients ([`delivery`]). The repo answers over gRPC about users, groups and history ([`repo`]). [`serve`] runs it
//! all until it is stopped.

mod address;
mod admit;
mod appender;
mod client_frame;
mod close_reason;
mod config;
mod content_rates;
mod delivery;
#[cfg(test)]
mod documented;
mod edge;
mod failed_logins;
mod failure;
mod frames;
mod heads;
mod http;
mod json;
mod lock;
mod operations;
mod origin;
mod oversize;
mod presence;
mod queues;
mod rate;
mod receipts;
mod recent_requests;
mod repo;
mod repo_share;
mod request;
mod rest;
mod rights;
mod routes;
mod send_bytes;
mod send_queue;
mod serve;
mod sessions;
mod sign_ins;
mod signals;
mod socket;
mod sync;
mod views;
mod web;

pub use config::{GatewayConfig, Registrations, Writers};
pub use operations::{HealthOfComponents, Operations, Readiness, RenderMetrics};
pub use presence::{HEARTBEAT_EVERY, IsOnline, OtherGateways, PresenceChange, SlotLease};
pub use serve::{GatewayError, GatewayParts, serve};
