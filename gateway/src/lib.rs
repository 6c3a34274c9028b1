//! The edge of GoChat: sockets, REST, the web page.
//!
//! What clients say is judged ([`admit`]), put into the log by one appender for all sockets, and
//! acknowledged once it is durable. What comes back on the slot's partition goes to the sockets of its
//! recipients ([`delivery`]). Everything about users, groups and history is asked of the repo over
//! gRPC. [`serve`] runs it all until it is told to stop.

mod address;
mod admit;
mod appender;
mod client_frame;
mod close_reason;
mod config;
mod delivery;
#[cfg(test)]
mod documented;
mod edge;
mod failed_logins;
mod failure;
mod frames;
mod json;
mod operations;
mod oversize;
mod presence;
mod queues;
mod rate;
mod receipts;
mod recent_requests;
mod repo;
mod request;
mod rest;
mod rights;
mod routes;
mod serve;
mod sessions;
mod sign_ins;
mod signals;
mod socket;
mod sync;
mod views;
mod web;

pub use config::GatewayConfig;
pub use operations::{HealthOfComponents, Operations, Readiness, RenderMetrics};
pub use presence::{HEARTBEAT_EVERY, IsOnline, OtherGateways, PresenceChange, SlotLease};
pub use serve::{GatewayError, GatewayParts, serve};
