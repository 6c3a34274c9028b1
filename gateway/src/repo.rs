//! The repo as the gateway sees it: gRPC calls with a time limit, whose failures are refusals that a
//! client may see.

use std::future::Future;
use std::time::Duration;

use schemas::error::{ErrorCode, GRPC_CODE_METADATA, Refusal};
use schemas::pb;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use topics::headers::{TRACE_HEADER, TraceParent};

mod stubs {
    #![allow(missing_docs, clippy::all, reason = "generated; the .proto file carries the documentation")]
    include!(concat!(env!("OUT_DIR"), "/client/gochat.repo.v1.rs"));
}

/// Calls the repo. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Repo {
    channel: Channel,
    timeout: Duration,
    trace: Option<TraceParent>,
}

impl Repo {
    /// Calls over this channel, each of which may take `timeout`.
    pub fn new(channel: Channel, timeout: Duration) -> Self {
        Self { channel, timeout, trace: None }
    }

    /// The same, with calls that belong to this trace.
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

    async fn answer<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>> + Send,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(refusal_of(method, &status)),
            Err(_) => {
                tracing::warn!(method, timeout_ms = self.timeout.as_millis(), "the repo did not answer in time");
                Err(unreachable_repo())
            }
        }
    }
}

macro_rules! calls {
    ($($service:ident, $client:ident: { $($method:ident($request:ident) -> $answer:ident;)* })*) => {
        impl Repo {
            $($(
                #[doc = concat!("`", stringify!($method), "` of the repo.")]
                ///
                /// # Errors
                /// What the repo refuses; Busy when it does not answer.
                pub async fn $method(&self, message: pb::$request) -> Result<pb::$answer, Refusal> {
                    let request = self.request(message);
                    let mut client = stubs::$service::$client::new(self.channel.clone());
                    // Boxed: the state of a call must not lie in every socket's task.
                    let call = Box::pin(async move { client.$method(request).await });
                    self.answer(stringify!($method), call).await
                }
            )*)*
        }
    };
}

calls! {
    user_repo_client, UserRepoClient: {
        get_user(GetUserRequest) -> User;
        get_user_by_username(GetUserByUsernameRequest) -> User;
        update_user(UpdateUserRequest) -> User;
        get_user_session(GetUserSessionRequest) -> UserSession;
    }
    message_repo_client, MessageRepoClient: {
        get_message(GetMessageRequest) -> Message;
    }
    group_repo_client, GroupRepoClient: {
        get_group(GetGroupRequest) -> Group;
        update_group(UpdateGroupRequest) -> Group;
        dissolve_group(DissolveGroupRequest) -> Empty;
        add_group_member(AddGroupMemberRequest) -> Empty;
        remove_group_member(RemoveGroupMemberRequest) -> Empty;
        set_group_member_role(SetGroupMemberRoleRequest) -> Empty;
        get_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
        get_online_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
    }
    conversation_service_client, ConversationServiceClient: {
        get_conversations(GetConversationsRequest) -> GetConversationsResponse;
        get_conversation_messages(GetConversationMessagesRequest) -> GetConversationMessagesResponse;
        create_group(CreateGroupRequest) -> Group;
        get_heads(GetHeadsRequest) -> GetHeadsResponse;
        get_access(GetAccessRequest) -> Access;
        get_read_marks(GetReadMarksRequest) -> GetReadMarksResponse;
    }
    auth_service_client, AuthServiceClient: {
        register(RegisterRequest) -> SignedIn;
        login(LoginRequest) -> SignedIn;
        refresh_token(RefreshTokenRequest) -> SignedIn;
        logout(LogoutRequest) -> Empty;
        check_sign_in(CheckSignInRequest) -> Empty;
    }
}

/// What a client is told about a failed call. The repo's sentence is passed on only with a code that
/// the repo gave on purpose.
fn refusal_of(method: &'static str, status: &Status) -> Refusal {
    let given = status.metadata().get(GRPC_CODE_METADATA).and_then(|value| value.to_str().ok()?.parse().ok());
    match given.and_then(ErrorCode::from_code) {
        Some(ErrorCode::Internal) => {
            tracing::error!(method, %status, "the repo failed");
            internal()
        }
        Some(code) => Refusal::new(code, status.message()),
        None => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
                tracing::warn!(method, %status, "the repo could not be reached");
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

/// A fault of ours, without its reason.
pub(crate) fn internal() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the server failed; the fault is logged")
}
