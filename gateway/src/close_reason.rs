//! Why the server closes a socket, as clients and metrics see it.

/// Why a socket is closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No token, or one that is forged or expired.
    Unauthenticated,
    /// A frame that is not of this protocol.
    ProtocolError,
    /// Its queue was full.
    TooSlow,
    /// Nothing was heard for two heartbeats.
    Silent,
    /// A newer socket of the same user took its place.
    Replaced,
    /// The sign-in was ended.
    LoggedOut,
    /// It went on in spite of RateLimited.
    RateLimited,
    /// The server stops, or lost its slot.
    GoingAway,
}

impl CloseReason {
    /// The code and the reason of the WebSocket close frame.
    pub fn code_and_sentence(self) -> (u16, &'static str) {
        match self {
            Self::Unauthenticated => (4001, "the access token is missing, not valid or expired"),
            Self::ProtocolError => (4002, "not a frame of this protocol, or one over the limit"),
            Self::TooSlow => (4008, "too slow: reconnect and sync"),
            Self::Silent => (4008, "nothing was heard for two heartbeats: reconnect and sync"),
            Self::Replaced => (4009, "replaced by a newer connection"),
            Self::LoggedOut => (4009, "logged out"),
            Self::RateLimited => (4029, "too many frames"),
            Self::GoingAway => (1001, "the server is going away: reconnect"),
        }
    }

    /// The `reason` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::ProtocolError => "protocol-error",
            Self::TooSlow => "too-slow",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
            Self::LoggedOut => "logged-out",
            Self::RateLimited => "rate-limited",
            Self::GoingAway => "going-away",
        }
    }
}
