//! gRPC calls to the repo, behind a guard. Their failures are refusals that clients may see.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use guard::{CallFailed, Guard, Limits};
use schemas::error::{ErrorCode, GRPC_CODE_METADATA, Refusal};
use schemas::ids::UserId;
use schemas::pb;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use topics::headers::{TRACE_HEADER, TraceParent};

use crate::repo_share::Shares;

mod stubs {
    #![allow(clippy::all, clippy::too_many_lines, reason = "generated; the .proto file carries the documentation")]
    include!(concat!(env!("OUT_DIR"), "/client/gochat.repo.v1.rs"));
}

/// A client of the repo. Clones share the connection and the guard.
#[derive(Debug, Clone)]
pub struct Repo {
    channel: Channel,
    timeout: Duration,
    guard: Arc<Guard>,
    shares: Arc<Shares>,
    trace: Option<TraceParent>,
    /// Whose share of the connection the calls take.
    user: Option<UserId>,
}

/// Whether a call may be repeated when its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Read,
    Change,
}

impl Repo {
    /// `timeout` is for a call with all its retries, and with the wait while `calls_a_user_max` of the user are under
    /// way.
    pub fn new(channel: Channel, timeout: Duration, calls_a_user_max: usize) -> Self {
        let guard = Arc::new(Guard::new("repo", Limits::within(timeout)));
        Self { channel, timeout, guard, shares: Arc::new(Shares::new(calls_a_user_max)), trace: None, user: None }
    }

    /// A client whose calls are for this user.
    pub fn of(&self, user: UserId) -> Self {
        Self { user: Some(user), ..self.clone() }
    }

    /// A client whose calls belong to this trace.
    pub fn traced(&self, trace: TraceParent) -> Self {
        Self { trace: Some(trace), ..self.clone() }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(value) = self.trace.and_then(|trace| trace.to_string().parse().ok()) {
            request.metadata_mut().insert(TRACE_HEADER, value);
        }
        request
    }

    async fn answer<T, F>(&self, method: &'static str, repeat: Repeat, call: impl FnMut() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let share = self.user.map(|user| self.shares.of(user));
        let called = async {
            // Outside of the guard: who waits for their own calls says nothing about the repo.
            let _turn = match &share {
                Some(share) => share.turn().await,
                None => None,
            };
            match repeat {
                Repeat::Read => self.guard.retrying(call, is_down).await,
                Repeat::Change => self.guard.once(call, is_down).await,
            }
        };
        match tokio::time::timeout(self.timeout, called).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(CallFailed::Failed { source, .. })) => Err(refusal_of(method, &source)),
            Ok(Err(failed @ CallFailed::Refused { .. })) => {
                tracing::debug!(method, %failed, "the repo was not asked");
                Err(unreachable_repo())
            }
            Ok(Err(CallFailed::TimedOut { .. })) | Err(_) => {
                tracing::debug!(method, timeout_ms = self.timeout.as_millis(), "the repo did not answer in time");
                Err(unreachable_repo())
            }
        }
    }
}

/// Whether a status says that the repo is down. A repo that answers with a code of ours is up, even when something
/// behind it is not.
fn is_down(status: &Status) -> bool {
    match status.code() {
        Code::DeadlineExceeded => true,
        Code::Unavailable | Code::Cancelled | Code::ResourceExhausted | Code::Unknown => {
            !status.metadata().contains_key(GRPC_CODE_METADATA)
        }
        _ => false,
    }
}

macro_rules! calls {
    ($($service:ident, $client:ident: { $($repeat:ident $method:ident($request:ident) -> $answer:ident;)* })*) => {
        impl Repo {
            $($(
                #[doc = concat!("`", stringify!($method), "` of the repo.")]
                ///
                /// # Errors
                /// What the repo refuses; Busy when it does not answer.
                pub async fn $method(&self, message: pb::$request) -> Result<pb::$answer, Refusal> {
                    let call = || {
                        let request = self.request(message.clone());
                        let mut client = stubs::$service::$client::new(self.channel.clone());
                        // Boxed: the state of a call would make every socket's task larger.
                        Box::pin(async move { client.$method(request).await })
                    };
                    Box::pin(self.answer(stringify!($method), Repeat::$repeat, call)).await
                }
            )*)*
        }
    };
}

calls! {
    user_repo_client, UserRepoClient: {
        Read get_user(GetUserRequest) -> User;
        Read get_users(GetUsersRequest) -> GetUsersResponse;
        Read get_user_by_username(GetUserByUsernameRequest) -> User;
        Change update_user(UpdateUserRequest) -> User;
    }
    message_repo_client, MessageRepoClient: {
        Read get_message(GetMessageRequest) -> Message;
    }
    group_repo_client, GroupRepoClient: {
        Read get_group(GetGroupRequest) -> Group;
        Change update_group(UpdateGroupRequest) -> Group;
        Change dissolve_group(DissolveGroupRequest) -> Empty;
        Change add_group_member(AddGroupMemberRequest) -> Empty;
        Change remove_group_member(RemoveGroupMemberRequest) -> Empty;
        Change set_group_member_role(SetGroupMemberRoleRequest) -> Empty;
        Read get_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
        Read get_online_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
    }
    conversation_service_client, ConversationServiceClient: {
        Read get_conversations(GetConversationsRequest) -> GetConversationsResponse;
        Read get_conversation_messages(GetConversationMessagesRequest) -> GetConversationMessagesResponse;
        Change create_group(CreateGroupRequest) -> Group;
        Read get_heads(GetHeadsRequest) -> GetHeadsResponse;
        Read get_access(GetAccessRequest) -> Access;
        Read get_read_marks(GetReadMarksRequest) -> GetReadMarksResponse;
    }
    auth_service_client, AuthServiceClient: {
        Change register(RegisterRequest) -> SignedIn;
        Change login(LoginRequest) -> SignedIn;
        Change refresh_token(RefreshTokenRequest) -> SignedIn;
        Change logout(LogoutRequest) -> Empty;
        Change logout_everywhere(LogoutEverywhereRequest) -> Empty;
        Change change_password(ChangePasswordRequest) -> Empty;
        Read get_sign_ins(GetSignInsRequest) -> GetSignInsResponse;
        Read check_sign_in(CheckSignInRequest) -> Empty;
    }
}

/// The refusal for a failed call. It has the repo's sentence only when the repo gave a code with it.
fn refusal_of(method: &'static str, status: &Status) -> Refusal {
    let given = status.metadata().get(GRPC_CODE_METADATA).and_then(|value| value.to_str().ok()?.parse().ok());
    match given.and_then(ErrorCode::from_code) {
        Some(ErrorCode::Internal) => {
            tracing::error!(method, %status, "the repo failed");
            internal()
        }
        Some(code) => Refusal::new(code, status.message()),
        None => match status.code() {
            // Unknown: the connection broke during the call.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted | Code::Unknown => {
                // The health watch reports that the repo is down.
                tracing::debug!(method, %status, "the repo could not be reached");
                unreachable_repo()
            }
            code => {
                tracing::error!(method, ?code, %status, "the repo gave an answer without a code");
                internal()
            }
        },
    }
}

fn unreachable_repo() -> Refusal {
    Refusal::new(ErrorCode::Busy, "the server cannot look this up now: try again shortly")
}

/// A fault of the server. Its cause is in the log, not in the answer.
pub(crate) fn internal() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the server failed; the fault is logged")
}
