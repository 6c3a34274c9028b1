//! The settings of a gateway: plain values with their units in the name, all with defaults.

use std::time::Duration;

use ipnet::IpNet;
use listener::Limits;
use schemas::admission::CONTENT_BYTES_MAX;
use schemas::ids::{CONVERSATION_ID_BYTES_MAX, UserId, decimal};
use schemas::setting::{InvalidSetting, Section};
use serde::{Deserialize, Serialize};
use topics::backlog::BacklogLimits;

use crate::address;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Frames that wait for one socket; over it what comes is dropped, until the client has read them and gets `heads`.
    pub send_queue_frames_max: usize,
    /// Bytes of these frames; over it the same.
    pub send_queue_bytes_max: usize,
    /// Bytes of frames that wait for all sockets. Half of them is for all together: over it `sync` and
    /// `subscribe-presence` are refused with Busy, and a socket holds no more than its part of the other half, which is
    /// divided by `sockets_max`.
    pub send_queues_bytes_max: usize,
    /// Seconds for which frames to one socket may be dropped; a client that has not read what was queued before them is
    /// then closed with 4008.
    pub behind_s: u64,
    /// Bytes of a frame from a client; a larger one closes the socket with 4002.
    pub frame_bytes_max: usize,
    /// Bytes of a request body; a larger one is refused with TooLarge.
    pub body_bytes_max: usize,
    /// Who may register: `open` everybody, `invited` who has one of the codes, `closed` nobody.
    pub registration: Registrations,
    /// Codes that let people register where that takes an invitation; each for any number of them.
    pub invitation_codes: Vec<String>,
    /// Sockets of this gateway; more are refused with Busy.
    pub sockets_max: usize,
    /// Connections, sockets among them; one more closes the one that has gone longest without finishing a request, and is
    /// refused where all are sockets. Fewer, where the limit of open files is lower.
    pub connections_max: usize,
    /// Connections of one address; one more closes another one of the address in the same way. Those of trusted proxies
    /// count only as sockets, for the client's address. Where `connections_max` is lowered, so is this.
    pub connections_an_address_max: usize,
    /// Milliseconds from the opening of a connection to its first answer, and from the head of a further request to its
    /// answer; then the connection is closed.
    pub request_ms: u64,
    /// Milliseconds for the client to take an answer and to send the head of its next request; then the connection is
    /// closed.
    pub idle_ms: u64,
    /// Sockets of one user; one more closes the oldest with 4009.
    pub sockets_a_user_max: usize,
    /// Messages of one socket that wait for the log; at the limit the socket is not read.
    pub sends_in_flight_a_socket_max: usize,
    /// Messages of all sockets that wait for the log; at the limit sockets wait.
    pub append_queue_records_max: usize,
    /// Seconds between a server's pings; a socket silent for two of them is closed.
    pub heartbeat_s: u64,
    /// Seconds after `hello` until the first `heads`.
    pub heads_after_s: u64,
    /// Seconds between two `heads`.
    pub heads_every_s: u64,
    /// Concurrent requests to the repo for heads; more wait.
    pub heads_concurrent_max: usize,
    /// Conversations in one `sync`.
    pub sync_conversations_max: usize,
    /// Bytes of one `sync-result`; further messages are left out, and `hasMore` is true.
    pub sync_page_bytes_max: usize,
    /// Users whose presence one socket may follow.
    pub presence_users_a_socket_max: usize,
    /// Largest group whose members get typing signals.
    pub typing_members_max: usize,
    /// Milliseconds for which a user's rights in a conversation are cached; at most 5,000.
    pub access_cache_ms: u64,
    /// Milliseconds for which a valid sign-in is cached; at most 5,000. For that time REST calls and new sockets of a
    /// user who was banned, or signed out elsewhere, may still be accepted; the next `heads` closes open sockets.
    pub sign_in_cache_ms: u64,
    /// Entries of each cache: rights, sign-ins, and messages by their clientMsgId.
    pub access_cache_entries_max: u64,
    /// Concurrent calls to the repo for one user, over REST and all their sockets; more wait, within `repo_timeout_ms`.
    pub repo_calls_a_user_max: usize,
    /// Milliseconds that a call to the repo may take; then the client gets Busy.
    pub repo_timeout_ms: u64,
    /// Milliseconds that an append may take; then the client gets Busy.
    pub append_timeout_ms: u64,
    /// Lag in records of all stages up to persist together; above it messages are refused with Busy, also those of the
    /// repo's SaveMessage and MarkAsRead.
    pub busy_lag_records_max: u64,
    /// Milliseconds for which the oldest of these records may have waited; above it the same.
    pub busy_wait_ms_max: u64,
    /// Lag in records above which each user gets no more than `late_messages_a_second_a_user`; what is beyond is
    /// refused with Busy.
    pub late_lag_records: u64,
    /// Milliseconds for which the oldest of these records may have waited; above it the same.
    pub late_wait_ms: u64,
    /// Messages a second of one user while others wait.
    pub late_messages_a_second_a_user: u32,
    /// Bytes of content a second of one user.
    pub content_bytes_a_second_a_user: u32,
    /// Bytes of content a second from one address.
    pub content_bytes_a_second_an_address: u32,
    /// Messages a second in one conversation, at this gateway.
    pub messages_a_second_a_conversation: u32,
    /// Bytes of content a second in one conversation, at this gateway.
    pub content_bytes_a_second_a_conversation: u32,
    /// Messages a second in `world`, and in each group that has had more than 500 members, at this gateway.
    pub messages_a_second_a_crowd: u32,
    /// Bytes of content a second there, at this gateway.
    pub content_bytes_a_second_a_crowd: u32,
    /// Ids of the users who may speak in `world`; without any everybody may.
    #[serde(with = "decimal::list")]
    pub world_writers: Vec<UserId>,
    /// Who may speak in a group that has had more than 500 members: `members`, or its `admins` and owner.
    pub large_group_writers: Writers,
    /// REST requests a second of one user.
    pub requests_a_second_a_user: u32,
    /// Connections a second from one address, which is no trusted proxy; more wait for their turn, within `request_ms`.
    pub connections_a_second_an_address: u32,
    /// Requests, and new sockets, a second from one address.
    pub requests_a_second_an_address: u32,
    /// Registrations and logins a second from one address.
    pub sign_ins_a_second_an_address: u32,
    /// Registrations a minute from one address.
    pub registrations_a_minute_an_address: u32,
    /// Failed logins a minute as one user from one address.
    pub failed_logins_a_minute_a_user_and_address: u32,
    /// Failed logins a minute as one user, from all addresses but those where the user has signed in.
    pub failed_logins_a_minute_a_user: u32,
    /// Failed logins a minute from one address.
    pub failed_logins_a_minute_an_address: u32,
    /// Frames a second of one user, over all their sockets. A frame counts as several for what it makes: `sync` one for
    /// each conversation, `subscribe-presence` and `typing` one for each user.
    pub frames_a_second_a_user: u32,
    /// Seconds for which unused requests add up.
    pub rate_burst_s: u32,
    /// Frames in a row that are refused with RateLimited; one more closes the socket with 4029.
    pub rate_refusals_max: u32,
    /// Users and addresses in the table of each rate limit.
    pub rate_entries_max: usize,
    /// Milliseconds for which a closing socket may take its last frames.
    pub close_wait_ms: u64,
    /// Proxies (`10.0.0.7`, `10.0.0.0/8`) whose `X-Forwarded-For` is trusted. Without them a client's address is that
    /// of its connection.
    #[serde(deserialize_with = "address::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins (`https://chat.example`) whose pages may use the gateway, besides its own.
    pub allowed_origins: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            send_queue_frames_max: 1_024,
            send_queue_bytes_max: 256 * 1_024,
            send_queues_bytes_max: 256 << 20,
            behind_s: 30,
            frame_bytes_max: 64 * 1_024,
            body_bytes_max: 256 * 1_024,
            registration: Registrations::Open,
            invitation_codes: Vec::new(),
            sockets_max: 50_000,
            connections_max: 60_000,
            connections_an_address_max: 20_000,
            request_ms: 30_000,
            idle_ms: 60_000,
            sockets_a_user_max: 32,
            sends_in_flight_a_socket_max: 64,
            append_queue_records_max: 8_192,
            heartbeat_s: 30,
            heads_after_s: 2,
            heads_every_s: 30,
            heads_concurrent_max: 32,
            sync_conversations_max: 200,
            sync_page_bytes_max: 128 * 1_024,
            presence_users_a_socket_max: 500,
            typing_members_max: 200,
            access_cache_ms: 5_000,
            sign_in_cache_ms: 5_000,
            access_cache_entries_max: 200_000,
            repo_calls_a_user_max: 8,
            repo_timeout_ms: 5_000,
            append_timeout_ms: 10_000,
            busy_lag_records_max: 200_000,
            busy_wait_ms_max: 60_000,
            late_lag_records: 10_000,
            late_wait_ms: 2_000,
            late_messages_a_second_a_user: 20,
            content_bytes_a_second_a_user: 256 * 1_024,
            content_bytes_a_second_an_address: 64 << 20,
            messages_a_second_a_conversation: 1_000,
            content_bytes_a_second_a_conversation: 4 << 20,
            messages_a_second_a_crowd: 200,
            content_bytes_a_second_a_crowd: 256 * 1_024,
            world_writers: Vec::new(),
            large_group_writers: Writers::Members,
            requests_a_second_a_user: 200,
            connections_a_second_an_address: 500,
            requests_a_second_an_address: 5_000,
            sign_ins_a_second_an_address: 200,
            registrations_a_minute_an_address: 1_200,
            failed_logins_a_minute_a_user_and_address: 10,
            failed_logins_a_minute_a_user: 100,
            failed_logins_a_minute_an_address: 100,
            frames_a_second_a_user: 1_000,
            rate_burst_s: 5,
            rate_refusals_max: 200,
            rate_entries_max: 200_000,
            close_wait_ms: 2_000,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registrations {
    Open,
    Invited,
    Closed,
}

/// Who may speak in a large group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writers {
    Members,
    Admins,
}

/// Members in one page of the repo: typing is not signalled to larger groups.
pub const TYPING_MEMBERS_MAX: usize = 1_000;
const INVITATION_BYTES_MIN: usize = 8;
/// Bytes of the largest `send-message` as JSON: each byte of its content may be escaped as `\u00XX`, and there are ids
/// and names.
const FRAME_BYTES_MIN: usize = 6 * CONTENT_BYTES_MAX + 1_024;
/// Bytes of one conversation's position in a `sync`: the id in quotes, a seq, a colon and a comma.
const POSITION_BYTES: usize = CONVERSATION_ID_BYTES_MAX + 24;
/// Bytes of one user's id in `subscribe-presence`, with its quotes and a comma.
const USER_ID_BYTES: usize = 22;
/// Bytes of a body with as many users as one call takes.
const BODY_BYTES_MIN: usize = 32 * 1_024;
/// The repo takes no more bytes in one call.
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// PROTOCOL.md promises this limit, in ms, for cached rights and sign-ins.
const CACHED_MS_MAX: u64 = 5_000;
/// Bytes of a `sync-result` with one message: as JSON it is no longer than the frame that it came in, and has more ids.
const PAGE_BYTES_MIN: usize = FRAME_BYTES_MIN + 1_024;
/// More than any process serves.
const COUNT_MAX: usize = 10_000_000;
const RATE_MAX: u32 = 10_000_000;
const HOUR_S: u64 = 3_600;

impl GatewayConfig {
    /// The bounds of its connections.
    pub fn connections(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            connections_an_address_max: self.connections_an_address_max,
            request_time: Duration::from_millis(self.request_ms),
            idle_time: Duration::from_millis(self.idle_ms),
            proxies: self.trusted_proxies.clone(),
        }
    }

    /// How far the chain may be behind.
    pub fn backlog(&self) -> BacklogLimits {
        BacklogLimits {
            records_max: self.busy_lag_records_max,
            wait_max: Duration::from_millis(self.busy_wait_ms_max),
            late_records: self.late_lag_records,
            late_wait: Duration::from_millis(self.late_wait_ms),
        }
    }

    /// Checks the values; `section` is their place in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that is out of bounds.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        self.check_sizes(section)?;
        self.check_times(section)?;
        self.check_rates(section)?;
        if self.invitation_codes.iter().any(|code| code.len() < INVITATION_BYTES_MIN) {
            let allowed = "codes of 8 bytes and more, which nobody guesses";
            return Err(section.invalid("invitation_codes", "a code that is shorter", allowed));
        }
        match self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => Err(section.invalid("allowed_origins", origin, "origins such as https://chat.example")),
        }
    }

    fn check_sizes(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        section.within("send_queue_frames_max", self.send_queue_frames_max, 1..=1_000_000)?;
        section.within("send_queue_bytes_max", self.send_queue_bytes_max, PAGE_BYTES_MIN..=1 << 30)?;
        section.within("send_queues_bytes_max", self.send_queues_bytes_max, PAGE_BYTES_MIN..=1 << 40)?;
        section.within("sync_page_bytes_max", self.sync_page_bytes_max, PAGE_BYTES_MIN..=1 << 30)?;
        let queue = ("send_queue_bytes_max", self.send_queue_bytes_max);
        section.at_most(("sync_page_bytes_max", self.sync_page_bytes_max), queue)?;
        section.at_most(queue, ("send_queues_bytes_max", self.send_queues_bytes_max))?;
        section.within("frame_bytes_max", self.frame_bytes_max, FRAME_BYTES_MIN..=1 << 20)?;
        section.within("body_bytes_max", self.body_bytes_max, BODY_BYTES_MIN..=BODY_BYTES_MAX)?;
        section.within("sockets_max", self.sockets_max, 1..=COUNT_MAX)?;
        section.within("connections_max", self.connections_max, 1..=COUNT_MAX)?;
        section.at_most(("sockets_max", self.sockets_max), ("connections_max", self.connections_max))?;
        section.within("connections_an_address_max", self.connections_an_address_max, 1..=COUNT_MAX)?;
        section.within("sockets_a_user_max", self.sockets_a_user_max, 1..=COUNT_MAX)?;
        section.at_most(("sockets_a_user_max", self.sockets_a_user_max), ("sockets_max", self.sockets_max))?;
        section.within("sends_in_flight_a_socket_max", self.sends_in_flight_a_socket_max, 1..=100_000)?;
        section.within("append_queue_records_max", self.append_queue_records_max, 1..=1_000_000)?;
        section.within("heads_concurrent_max", self.heads_concurrent_max, 1..=100_000)?;
        let frame = |key: &'static str, count: usize, each: usize| {
            let fit = self.frame_bytes_max / each;
            section.within(key, count, 1..=fit).map_err(|invalid| InvalidSetting {
                allowed: format!("from 1 to {fit}: more do not fit into {}", section.key("frame_bytes_max")),
                ..invalid
            })
        };
        frame("sync_conversations_max", self.sync_conversations_max, POSITION_BYTES)?;
        frame("presence_users_a_socket_max", self.presence_users_a_socket_max, USER_ID_BYTES)?;
        section.within("repo_calls_a_user_max", self.repo_calls_a_user_max, 1..=100_000)?;
        section.within("typing_members_max", self.typing_members_max, 1..=TYPING_MEMBERS_MAX)?;
        section.within("access_cache_entries_max", self.access_cache_entries_max, 0..=COUNT_MAX as u64)?;
        section.within("late_lag_records", self.late_lag_records, 0..=1_000_000_000_000)?;
        section.within("busy_lag_records_max", self.busy_lag_records_max, 1..=1_000_000_000_000)
    }

    fn check_times(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        section.within("busy_wait_ms_max", self.busy_wait_ms_max, 1_000..=HOUR_S * 1_000)?;
        section.within("late_wait_ms", self.late_wait_ms, 0..=HOUR_S * 1_000)?;
        let late = ("late_wait_ms", self.late_wait_ms);
        section.at_most(late, ("busy_wait_ms_max", self.busy_wait_ms_max))?;
        section.within("heartbeat_s", self.heartbeat_s, 1..=HOUR_S)?;
        section.within("behind_s", self.behind_s, 1..=HOUR_S)?;
        section.within("heads_after_s", self.heads_after_s, 0..=HOUR_S)?;
        section.within("heads_every_s", self.heads_every_s, 1..=HOUR_S)?;
        section.within("access_cache_ms", self.access_cache_ms, 0..=CACHED_MS_MAX)?;
        section.within("sign_in_cache_ms", self.sign_in_cache_ms, 0..=CACHED_MS_MAX)?;
        section.within("repo_timeout_ms", self.repo_timeout_ms, 100..=600_000)?;
        section.within("append_timeout_ms", self.append_timeout_ms, 100..=600_000)?;
        section.within("request_ms", self.request_ms, 1_000..=600_000)?;
        section.at_most(("repo_timeout_ms", self.repo_timeout_ms), ("request_ms", self.request_ms))?;
        section.within("idle_ms", self.idle_ms, 1_000..=HOUR_S * 1_000)?;
        section.within("close_wait_ms", self.close_wait_ms, 1..=60_000)
    }

    fn check_rates(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        let rates = [
            ("requests_a_second_a_user", self.requests_a_second_a_user),
            ("connections_a_second_an_address", self.connections_a_second_an_address),
            ("requests_a_second_an_address", self.requests_a_second_an_address),
            ("sign_ins_a_second_an_address", self.sign_ins_a_second_an_address),
            ("registrations_a_minute_an_address", self.registrations_a_minute_an_address),
            ("failed_logins_a_minute_a_user_and_address", self.failed_logins_a_minute_a_user_and_address),
            ("failed_logins_a_minute_a_user", self.failed_logins_a_minute_a_user),
            ("failed_logins_a_minute_an_address", self.failed_logins_a_minute_an_address),
            ("frames_a_second_a_user", self.frames_a_second_a_user),
            ("rate_refusals_max", self.rate_refusals_max),
            ("late_messages_a_second_a_user", self.late_messages_a_second_a_user),
            ("messages_a_second_a_conversation", self.messages_a_second_a_conversation),
            ("messages_a_second_a_crowd", self.messages_a_second_a_crowd),
        ];
        for (key, rate) in rates {
            section.within(key, rate, 1..=RATE_MAX)?;
        }
        let bytes = [
            ("content_bytes_a_second_a_user", self.content_bytes_a_second_a_user),
            ("content_bytes_a_second_an_address", self.content_bytes_a_second_an_address),
            ("content_bytes_a_second_a_conversation", self.content_bytes_a_second_a_conversation),
            ("content_bytes_a_second_a_crowd", self.content_bytes_a_second_a_crowd),
        ];
        for (key, rate) in bytes {
            // The largest message passes.
            section.within(key, rate, CONTENT_BYTES_MAX as u32..=1 << 31)?;
        }
        let alone = ("failed_logins_a_minute_a_user_and_address", self.failed_logins_a_minute_a_user_and_address);
        section.at_most(alone, ("failed_logins_a_minute_a_user", self.failed_logins_a_minute_a_user))?;
        section.at_most(alone, ("failed_logins_a_minute_an_address", self.failed_logins_a_minute_an_address))?;
        section.within("rate_burst_s", self.rate_burst_s, 1..=3_600)?;
        section.within("rate_entries_max", self.rate_entries_max, 1..=COUNT_MAX)
    }
}

/// Whether a text has the form of `Origin`: a scheme and an authority, without a path or slash at the end.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    matches!(scheme, "http" | "https") && !authority.is_empty() && !authority.contains(['/', '?', '#', ' ', '@'])
}
