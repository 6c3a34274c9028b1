//! A repo that knows a few users, one group and what a test puts into it; asked over real gRPC.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::NOW;
use schemas::error::{ErrorCode, GRPC_CODE_METADATA};
use schemas::ids::ConversationId;
use schemas::pb;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

mod stubs {
    #![allow(clippy::all, clippy::too_many_lines, unused, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/server/gochat.repo.v1.rs"));
}

use stubs::auth_service_server::{AuthService, AuthServiceServer};
use stubs::conversation_service_server::{ConversationService, ConversationServiceServer};
use stubs::group_repo_server::{GroupRepo, GroupRepoServer};
use stubs::message_repo_server::{MessageRepo, MessageRepoServer};
use stubs::user_repo_server::{UserRepo, UserRepoServer};

/// Users 1 to 99 exist; 1, 2 and 3 are the members of group 5, of which the last reads from a later message on.
pub const MEMBERS: [i64; 3] = [1, 2, 3];
pub const LATE: i64 = 3;
pub const LATE_READS_FROM: i64 = 3;

#[derive(Default)]
pub struct FakeRepo {
    pub messages: Mutex<Vec<pb::Message>>,
    pub heads: Mutex<Vec<pb::ConversationHead>>,
    /// Members of group 5 who are none any more.
    pub former_members: Mutex<HashSet<i64>>,
    pub heads_asked: Mutex<Vec<pb::GetHeadsRequest>>,
    pub access_calls: AtomicUsize,
    /// What is said of every sign-in; `None`: it goes on.
    pub sign_ins_are: Mutex<Option<ErrorCode>>,
    pub traces: Mutex<Vec<String>>,
    pub logged_out: Mutex<Vec<pb::LogoutRequest>>,
    /// Calls for one user, or several.
    pub user_calls: AtomicUsize,
    /// Calls that wait for ever.
    pub slow_calls: AtomicUsize,
    /// Calls that were answered as by a server that is just going down.
    pub unavailable: AtomicUsize,
}

type Answer<T> = Result<Response<T>, Status>;

pub fn refused(code: ErrorCode, message: &str) -> Status {
    let mut status = Status::new(Code::from_i32(code.grpc_code()), message);
    status.metadata_mut().insert(GRPC_CODE_METADATA, code.code().to_string().parse().unwrap());
    status
}

/// Serves until the test ends, and gives a channel to it.
pub async fn start(repo: Arc<FakeRepo>) -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(UserRepoServer::from_arc(repo.clone()))
        .add_service(MessageRepoServer::from_arc(repo.clone()))
        .add_service(GroupRepoServer::from_arc(repo.clone()))
        .add_service(ConversationServiceServer::from_arc(repo.clone()))
        .add_service(AuthServiceServer::from_arc(repo))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

impl FakeRepo {
    fn judge_sign_in(&self) -> Result<(), Status> {
        self.sign_ins_are.lock().unwrap().map_or(Ok(()), |code| Err(refused(code, "it is over")))
    }
}

fn exists(user: i64) -> bool {
    (1..100).contains(&user)
}

fn user(user_id: i64) -> pb::User {
    pb::User {
        user_id,
        username: format!("user{user_id}"),
        display_name: "Ann".into(),
        avatar_url: String::new(),
        email: "ann@example.org".into(),
        status: "active".into(),
        created_at: 1_750_000_000_000,
    }
}

fn group() -> pb::Group {
    pb::Group {
        group_id: 5,
        name: "Tea".into(),
        description: "and cake".into(),
        owner_id: 1,
        member_count: 3,
        max_members: 500,
        version: 4,
        dissolved: false,
        created_at: 1_750_000_000_001,
    }
}

fn member(user_id: i64) -> pb::GroupMember {
    pb::GroupMember {
        user_id,
        username: format!("user{user_id}"),
        display_name: "Ann".into(),
        role: "member".into(),
        joined_at: 1_750_000_000_002,
        online: false,
    }
}

fn signed_in(username: String) -> pb::SignedIn {
    pb::SignedIn {
        user_id: 9_007_199_254_740_993,
        username,
        access_token: "a".into(),
        refresh_token: "r".into(),
        expires_in: 900,
    }
}

#[tonic::async_trait]
impl UserRepo for FakeRepo {
    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Answer<pb::User> {
        self.user_calls.fetch_add(1, Ordering::SeqCst);
        let trace = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
        self.traces.lock().unwrap().extend(trace.map(str::to_owned));
        match request.into_inner().user_id {
            404 => Err(refused(ErrorCode::UserNotFound, "nobody")),
            id => Ok(Response::new(user(id))),
        }
    }

    async fn get_users(&self, request: Request<pb::GetUsersRequest>) -> Answer<pb::GetUsersResponse> {
        self.user_calls.fetch_add(1, Ordering::SeqCst);
        let ids = request.into_inner().user_ids.into_iter();
        Ok(Response::new(pb::GetUsersResponse { users: ids.filter(|&id| id != 404).map(user).collect() }))
    }

    async fn get_user_by_username(&self, request: Request<pb::GetUserByUsernameRequest>) -> Answer<pb::User> {
        match request.into_inner().username.as_str() {
            "user2" => Ok(Response::new(user(2))),
            "broken" => Err(Status::internal("SELECT failed at /var/lib/secret")),
            "slow" => {
                self.slow_calls.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            "flaky" if self.unavailable.fetch_add(1, Ordering::SeqCst) == 0 => Err(Status::unavailable("going down")),
            "flaky" => Ok(Response::new(user(2))),
            name => {
                let code = name.strip_prefix("refused").and_then(|code| ErrorCode::from_code(code.parse().ok()?));
                Err(refused(code.unwrap_or(ErrorCode::UserNotFound), "as asked"))
            }
        }
    }

    async fn get_user_session(&self, _: Request<pb::GetUserSessionRequest>) -> Answer<pb::UserSession> {
        Err(refused(ErrorCode::UserNotFound, "connected nowhere"))
    }
}

#[tonic::async_trait]
impl MessageRepo for FakeRepo {
    async fn get_message(&self, request: Request<pb::GetMessageRequest>) -> Answer<pb::Message> {
        use pb::get_message_request::By;
        let pb::GetMessageRequest { by, reader_id } = request.into_inner();
        let by = by.ok_or_else(|| refused(ErrorCode::InvalidInput, "which?"))?;
        let first = if reader_id.expect("clients read as themselves") == LATE { LATE_READS_FROM } else { 1 };
        let messages = self.messages.lock().unwrap();
        let found = messages.iter().find(|m| match &by {
            By::MessageId(id) => m.message_id == *id,
            By::Position(at) => m.conversation_id == at.conversation_id && m.seq_id == at.seq_id,
        });
        let found = found.filter(|message| message.seq_id >= first);
        found.cloned().map(Response::new).ok_or_else(|| refused(ErrorCode::ConversationNotFound, "no such message"))
    }
}

#[tonic::async_trait]
impl GroupRepo for FakeRepo {
    async fn get_group(&self, request: Request<pb::GetGroupRequest>) -> Answer<pb::Group> {
        match request.into_inner().group_id {
            5 => Ok(Response::new(group())),
            _ => Err(refused(ErrorCode::ConversationNotFound, "no such group")),
        }
    }

    async fn get_group_members(&self, _: Request<pb::GetGroupMembersRequest>) -> Answer<pb::GetGroupMembersResponse> {
        let members = MEMBERS.iter().map(|&user| member(user)).collect();
        Ok(Response::new(pb::GetGroupMembersResponse { members, next_cursor: String::new() }))
    }

    async fn add_group_member(&self, _: Request<pb::AddGroupMemberRequest>) -> Answer<pb::Empty> {
        Err(refused(ErrorCode::GroupFull, "the group is full"))
    }

    async fn dissolve_group(&self, _: Request<pb::DissolveGroupRequest>) -> Answer<pb::Empty> {
        self.unavailable.fetch_add(1, Ordering::SeqCst);
        Err(Status::unavailable("going down"))
    }

    async fn set_group_member_role(&self, _: Request<pb::SetGroupMemberRoleRequest>) -> Answer<pb::Empty> {
        Ok(Response::new(pb::Empty {}))
    }
}

#[tonic::async_trait]
impl ConversationService for FakeRepo {
    async fn get_access(&self, request: Request<pb::GetAccessRequest>) -> Answer<pb::Access> {
        self.access_calls.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        match request.conversation_id.parse() {
            Ok(ConversationId::Single { low, high }) if exists(low.0) && exists(high.0) => {
                Ok(Response::new(pb::Access { member: true, ..Default::default() }))
            }
            Ok(ConversationId::Single { .. }) => Err(refused(ErrorCode::UserNotFound, "no such user")),
            Ok(ConversationId::World) => Ok(Response::new(pb::Access { member: true, ..Default::default() })),
            Ok(ConversationId::Group(group))
                if group.0 == 5
                    && MEMBERS.contains(&request.user_id)
                    && !self.former_members.lock().unwrap().contains(&request.user_id) =>
            {
                Ok(Response::new(pb::Access { member: true, role: "member".into(), large: false }))
            }
            // A large group; user 1 is an admin.
            Ok(ConversationId::Group(group)) if group.0 == 6 => {
                let role = if request.user_id == 1 { "admin" } else { "member" };
                Ok(Response::new(pb::Access { member: true, role: role.into(), large: true }))
            }
            _ => Err(refused(ErrorCode::ConversationNotFound, "no such conversation")),
        }
    }

    async fn get_read_marks(&self, request: Request<pb::GetReadMarksRequest>) -> Answer<pb::GetReadMarksResponse> {
        match request.into_inner().conversation_id.as_str() {
            "group_6" => Err(refused(ErrorCode::ConversationNotFound, "no such conversation")),
            _ => Ok(Response::new(pb::GetReadMarksResponse {
                read_marks: vec![pb::ReadMark { user_id: 9_007_199_254_740_993, seq_id: 4 }],
            })),
        }
    }

    async fn get_heads(&self, request: Request<pb::GetHeadsRequest>) -> Answer<pb::GetHeadsResponse> {
        let request = request.into_inner();
        assert!(request.session_id.is_some());
        self.heads_asked.lock().unwrap().push(request);
        self.judge_sign_in()?;
        let heads = self.heads.lock().unwrap().clone();
        let as_of = i64::try_from(self.heads_asked.lock().unwrap().len()).unwrap();
        Ok(Response::new(pb::GetHeadsResponse { heads, as_of }))
    }

    async fn get_conversations(&self, _: Request<pb::GetConversationsRequest>) -> Answer<pb::GetConversationsResponse> {
        let conversation = pb::Conversation {
            conversation_id: "single_1_2".into(),
            kind: "single".into(),
            title: "Bob".into(),
            last_seq: 3,
            read_seq: 1,
            unread: 2,
            last_message: None,
            updated_at: 1_750_000_000_003,
        };
        Ok(Response::new(pb::GetConversationsResponse { conversations: vec![conversation], next_cursor: "c".into() }))
    }

    async fn get_conversation_messages(
        &self,
        request: Request<pb::GetConversationMessagesRequest>,
    ) -> Answer<pb::GetConversationMessagesResponse> {
        let request = request.into_inner();
        if request.conversation_id == "group_6" {
            return Err(refused(ErrorCode::ConversationNotFound, "no such conversation"));
        }
        let all = self.messages.lock().unwrap();
        let all: Vec<_> = all.iter().filter(|m| m.conversation_id == request.conversation_id).cloned().collect();
        let after = request.after_seq.unwrap_or(0);
        let mut messages: Vec<_> = all.iter().filter(|m| m.seq_id > after).cloned().collect();
        let has_more = messages.len() > request.limit as usize;
        messages.truncate(request.limit as usize);
        let last_seq = all.last().map_or(0, |m| m.seq_id);
        Ok(Response::new(pb::GetConversationMessagesResponse { messages, has_more, last_seq, first_seq: 1 }))
    }

    async fn create_group(&self, _: Request<pb::CreateGroupRequest>) -> Answer<pb::Group> {
        Ok(Response::new(group()))
    }
}

#[tonic::async_trait]
impl AuthService for FakeRepo {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::SignedIn> {
        let username = request.into_inner().username;
        if username == "taken" {
            return Err(refused(ErrorCode::UserExists, "the name is taken"));
        }
        Ok(Response::new(signed_in(username)))
    }

    async fn refresh_token(&self, _: Request<pb::RefreshTokenRequest>) -> Answer<pb::SignedIn> {
        Ok(Response::new(signed_in("ann".into())))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Answer<pb::SignedIn> {
        match request.into_inner().password.as_str() {
            "right one" => Ok(Response::new(pb::SignedIn::default())),
            _ => Err(refused(ErrorCode::Unauthenticated, "the username or the password is wrong")),
        }
    }

    async fn check_sign_in(&self, _: Request<pb::CheckSignInRequest>) -> Answer<pb::Empty> {
        self.judge_sign_in()?;
        Ok(Response::new(pb::Empty {}))
    }

    async fn logout_everywhere(&self, _: Request<pb::LogoutEverywhereRequest>) -> Answer<pb::Empty> {
        Ok(Response::new(pb::Empty {}))
    }

    async fn get_sign_ins(&self, _: Request<pb::GetSignInsRequest>) -> Answer<pb::GetSignInsResponse> {
        let sign_in = |session_id| pb::OpenSignIn { session_id, refreshed_at: NOW, expires_at: NOW + 1_000 };
        Ok(Response::new(pb::GetSignInsResponse { sign_ins: vec![sign_in(10), sign_in(11)] }))
    }

    async fn change_password(&self, request: Request<pb::ChangePasswordRequest>) -> Answer<pb::Empty> {
        match request.into_inner().password.as_str() {
            "right one" => Ok(Response::new(pb::Empty {})),
            _ => Err(refused(ErrorCode::PermissionDenied, "the password until now is wrong")),
        }
    }

    async fn reset_password(&self, _: Request<pb::ResetPasswordRequest>) -> Answer<pb::Empty> {
        Err(Status::unimplemented("no gateway resets passwords"))
    }

    async fn logout(&self, request: Request<pb::LogoutRequest>) -> Answer<pb::Empty> {
        self.logged_out.lock().unwrap().push(request.into_inner());
        Ok(Response::new(pb::Empty {}))
    }
}
