//! What can be set about a gateway: plain values with their units in the name, all with defaults.

use serde::{Deserialize, Serialize};

use crate::address::Network;

/// The gateway's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Frames that wait for one socket; over it the socket is closed with 4008.
    pub send_queue_frames_max: usize,
    /// Bytes of one frame from a client; a larger one closes the socket with 4002.
    pub frame_bytes_max: usize,
    /// Bytes of a request body; a larger one is refused with TooLarge.
    pub body_bytes_max: usize,
    /// Sockets on this gateway; further ones are refused with Busy.
    pub sockets_max: usize,
    /// Sockets of one user; the oldest one makes room, closed with 4009.
    pub sockets_a_user_max: usize,
    /// Messages of one socket on their way into the log; then the socket is not read further.
    pub sends_in_flight_a_socket_max: usize,
    /// Messages of all sockets that wait for the log; then sockets wait.
    pub append_queue_records_max: usize,
    /// Seconds between a server's pings; a socket silent for two of them is closed.
    pub heartbeat_s: u64,
    /// Seconds after `hello` until the first `heads`.
    pub heads_after_s: u64,
    /// Seconds between two `heads`.
    pub heads_every_s: u64,
    /// Sockets that ask the repo for heads at the same time; the others wait.
    pub heads_concurrent_max: usize,
    /// Seconds after which a resend can't be told from a new message: the window of dedupe.
    pub resend_window_s: u64,
    /// Conversations in one `sync`.
    pub sync_conversations_max: usize,
    /// Users whose presence one socket may follow.
    pub presence_users_a_socket_max: usize,
    /// Largest group whose members are told that somebody is typing.
    pub typing_members_max: usize,
    /// Milliseconds for which a user's rights in a conversation are believed; at most 5,000.
    pub access_cache_ms: u64,
    /// Milliseconds for which a sign-in is believed to go on; at most 5,000. So long may REST calls and
    /// new sockets of somebody who was banned, or signed out elsewhere, still be taken; open sockets are
    /// closed with the next `heads`.
    pub sign_in_cache_ms: u64,
    /// Rights that are remembered, sign-ins, and messages by their clientMsgId.
    pub access_cache_entries_max: u64,
    /// Milliseconds that a call to the repo may take; then the client hears Busy.
    pub repo_timeout_ms: u64,
    /// Milliseconds that an append may take; then the client hears Busy.
    pub append_timeout_ms: u64,
    /// Records that wait before the store, before all stages up to persist together; over it messages are
    /// refused with Busy, the repo's SaveMessage and MarkAsRead too.
    pub busy_lag_records_max: u64,
    /// REST requests a second of one user.
    pub requests_a_second_a_user: u32,
    /// REST requests, and new sockets, a second from one address.
    pub requests_a_second_an_address: u32,
    /// Registrations and logins a second from one address.
    pub sign_ins_a_second_an_address: u32,
    /// Logins a minute as one user from one address that may fail.
    pub failed_logins_a_minute_a_user_and_address: u32,
    /// Logins a minute as one user, from wherever, that may fail.
    pub failed_logins_a_minute_a_user: u32,
    /// Logins a minute from one address that may fail.
    pub failed_logins_a_minute_an_address: u32,
    /// Frames a second of one user, over all their sockets.
    pub frames_a_second_a_user: u32,
    /// Seconds for which unused allowance adds up.
    pub rate_burst_s: u32,
    /// Frames in a row that are refused with RateLimited; then the socket is closed with 4029.
    pub rate_refusals_max: u32,
    /// Users and addresses whose rates are remembered.
    pub rate_entries_max: usize,
    /// Milliseconds for which a closing socket may take its last frames.
    pub close_wait_ms: u64,
    /// Milliseconds that a shutdown may take.
    pub shutdown_grace_ms: u64,
    /// Proxies (`10.0.0.7`, `10.0.0.0/8`) whose `X-Forwarded-For` is believed; of others a client's address
    /// is that of its connection.
    pub trusted_proxies: Vec<Network>,
    /// Origins (`https://chat.example`) whose pages may open a socket, beside the gateway's own.
    pub allowed_origins: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            send_queue_frames_max: 1_024,
            frame_bytes_max: 64 * 1_024,
            body_bytes_max: 256 * 1_024,
            sockets_max: 50_000,
            sockets_a_user_max: 32,
            sends_in_flight_a_socket_max: 64,
            append_queue_records_max: 8_192,
            heartbeat_s: 30,
            heads_after_s: 2,
            heads_every_s: 30,
            heads_concurrent_max: 32,
            resend_window_s: 600,
            sync_conversations_max: 200,
            presence_users_a_socket_max: 500,
            typing_members_max: 200,
            access_cache_ms: 5_000,
            sign_in_cache_ms: 5_000,
            access_cache_entries_max: 200_000,
            repo_timeout_ms: 5_000,
            append_timeout_ms: 10_000,
            busy_lag_records_max: 200_000,
            requests_a_second_a_user: 200,
            requests_a_second_an_address: 5_000,
            sign_ins_a_second_an_address: 200,
            failed_logins_a_minute_a_user_and_address: 10,
            failed_logins_a_minute_a_user: 100,
            failed_logins_a_minute_an_address: 100,
            frames_a_second_a_user: 1_000,
            rate_burst_s: 5,
            rate_refusals_max: 200,
            rate_entries_max: 200_000,
            close_wait_ms: 2_000,
            shutdown_grace_ms: 10_000,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}
