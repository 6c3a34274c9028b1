//! The error codes that clients see, with their HTTP and gRPC status.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $http:literal, $grpc:literal, $retryable:literal;)*) => {
        /// Why a request was refused. The numbers are part of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            pub fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// Number of the gRPC status (`google.rpc.Code`).
            pub fn grpc_code(self) -> i32 {
                match self { $(Self::$name => $grpc,)* }
            }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// A field is missing, overlong or of the wrong form.
    InvalidInput = 1000, 400, 3, false;
    /// No such user.
    UserNotFound = 1001, 404, 5, false;
    /// Not a member, not the owner, or not the sender.
    PermissionDenied = 1002, 403, 7, false;
    /// Reserved: a repeat is acknowledged like the first.
    DuplicateMessage = 1003, 409, 6, false;
    /// No such conversation, group or message.
    ConversationNotFound = 1004, 404, 5, false;
    /// The group has as many members as it may.
    GroupFull = 1005, 409, 8, false;
    /// No token, or one that is forged, expired or revoked; or a wrong password.
    Unauthenticated = 1006, 401, 16, false;
    /// Too many requests.
    RateLimited = 1007, 429, 8, true;
    /// Overloaded, or a component does not answer.
    Busy = 1008, 503, 14, true;
    /// The name is taken.
    UserExists = 1009, 409, 6, false;
    /// A body or frame over its limit.
    TooLarge = 1010, 413, 3, false;
    /// First sent too long ago: dedupe may no longer know the first attempt. Sync first.
    Expired = 1011, 409, 9, false;
    /// A fault of the server.
    Internal = 1500, 500, 13, true;
}

/// Why a request is refused, for the client: a code and a sentence, never internals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// With [`ErrorCode::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code.code(), self.code.name(), self.message)
    }
}

impl std::error::Error for Refusal {}

/// Metadata key under which a gRPC status carries the number of its [`ErrorCode`].
pub const GRPC_CODE_METADATA: &str = "gochat-code";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_themselves() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        }
        assert_eq!(ErrorCode::from_code(999), None);
    }

    /// As clients were told: `gateway/PROTOCOL.md`, and <https://grpc.io/docs/guides/status-codes/>.
    #[test]
    fn every_code_keeps_its_number_and_its_status() {
        let table: Vec<_> = ErrorCode::ALL
            .iter()
            .map(|code| (code.code(), code.name(), code.http_status(), code.grpc_code(), code.retryable()))
            .collect();
        let expected = [
            (1000, "InvalidInput", 400, 3, false),
            (1001, "UserNotFound", 404, 5, false),
            (1002, "PermissionDenied", 403, 7, false),
            (1003, "DuplicateMessage", 409, 6, false),
            (1004, "ConversationNotFound", 404, 5, false),
            (1005, "GroupFull", 409, 8, false),
            (1006, "Unauthenticated", 401, 16, false),
            (1007, "RateLimited", 429, 8, true),
            (1008, "Busy", 503, 14, true),
            (1009, "UserExists", 409, 6, false),
            (1010, "TooLarge", 413, 3, false),
            (1011, "Expired", 409, 9, false),
            (1500, "Internal", 500, 13, true),
        ];
        assert_eq!(table, expected);
    }
}
