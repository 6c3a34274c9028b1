//! `UserRepo`.

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::names;
use schemas::pb;

use super::{CallError, Repo, input, service};
use crate::repo::cache::UserSession;
use crate::repo::group_rules::no_user;
use crate::repo::grpc::user_repo_server::UserRepo;
use crate::repo::model::{User, UserPatch, UserStatus};

/// Bytes in the name of a gateway.
const GATEWAY_ID_BYTES_MAX: usize = 255;

service! {
    UserRepo
    create_user(CreateUserRequest) -> User;
    get_user(GetUserRequest) -> User;
    get_user_by_username(GetUserByUsernameRequest) -> User;
    update_user(UpdateUserRequest) -> User;
    get_user_session(GetUserSessionRequest) -> UserSession;
    set_user_session(UserSession) -> Empty;
}

impl Repo {
    async fn create_user(&self, request: pb::CreateUserRequest) -> Result<pb::User, CallError> {
        let pb::CreateUserRequest { username, email, display_name } = request;
        self.make_user(username, email, display_name, None).await.map(user_to_pb)
    }

    /// Stores a new user. Without a display name they are shown by their username.
    pub(super) async fn make_user(
        &self,
        username: String,
        email: String,
        display_name: String,
        password_hash: Option<&str>,
    ) -> Result<User, CallError> {
        let display_name = check_new_user(&username, &email, &display_name)?;
        let user = User {
            id: UserId(self.new_id()?),
            display_name,
            username,
            avatar_url: String::new(),
            email,
            status: UserStatus::Active,
            created_at: self.clock.now_ms(),
        };
        self.store.create_user(&user, password_hash).await?;
        Ok(user)
    }

    async fn get_user(&self, request: pb::GetUserRequest) -> Result<pb::User, CallError> {
        let id = input::user_id("user_id", request.user_id)?;
        Ok(self.store.user(id).await?.map(user_to_pb).ok_or_else(|| no_user(id))?)
    }

    async fn get_user_by_username(&self, request: pb::GetUserByUsernameRequest) -> Result<pb::User, CallError> {
        names::check_username(&request.username)?;
        let found = self.store.credentials(&request.username).await?;
        let missing = || Refusal::new(ErrorCode::UserNotFound, format!("there is no user named {}", request.username));
        Ok(user_to_pb(found.ok_or_else(missing)?.user))
    }

    async fn update_user(&self, request: pb::UpdateUserRequest) -> Result<pb::User, CallError> {
        let id = input::user_id("user_id", request.user_id)?;
        let display_name = request.display_name.map(|name| names::name("display_name", &name)).transpose()?;
        if let Some(url) = &request.avatar_url {
            names::check_avatar_url("avatar_url", url)?;
        }
        let unknown = || Refusal::invalid("status is active, inactive or banned");
        let named = |name: &str| UserStatus::named(name).ok_or_else(unknown);
        let status = request.status.as_deref().map(named).transpose()?;
        let patch = UserPatch { display_name, avatar_url: request.avatar_url, status };
        Ok(self.store.update_user(id, &patch).await?.map(user_to_pb).ok_or_else(|| no_user(id))?)
    }

    async fn get_user_session(&self, request: pb::GetUserSessionRequest) -> Result<pb::UserSession, CallError> {
        let id = input::user_id("user_id", request.user_id)?;
        let missing = || Refusal::new(ErrorCode::UserNotFound, format!("user {id} is not connected anywhere"));
        let UserSession { user_id, gateway_id, login_at, last_seen } =
            self.cache.session(id).await?.ok_or_else(missing)?;
        Ok(pb::UserSession { user_id: user_id.0, gateway_id, login_at, last_seen })
    }

    async fn set_user_session(&self, session: pb::UserSession) -> Result<pb::Empty, CallError> {
        let id = input::user_id("user_id", session.user_id)?;
        if session.gateway_id.len() > GATEWAY_ID_BYTES_MAX || session.gateway_id.contains('\0') {
            let message = format!("gateway_id has at most {GATEWAY_ID_BYTES_MAX} bytes of UTF-8 without NUL");
            return Err(Refusal::invalid(message).into());
        }
        let pb::UserSession { user_id: _, gateway_id, login_at, last_seen } = session;
        self.cache.put_session(&UserSession { user_id: id, gateway_id, login_at, last_seen }).await?;
        Ok(pb::Empty {})
    }
}

/// Judges what a new user says of themselves, and answers with the name that others see.
pub(super) fn check_new_user(username: &str, email: &str, display_name: &str) -> Result<String, Refusal> {
    names::check_username(username)?;
    if !email.is_empty() {
        names::check_email(email)?;
    }
    if display_name.is_empty() { Ok(username.to_owned()) } else { names::name("display_name", display_name) }
}

fn user_to_pb(user: User) -> pb::User {
    pb::User {
        user_id: user.id.0,
        username: user.username,
        display_name: user.display_name,
        avatar_url: user.avatar_url,
        email: user.email,
        status: user.status.name().to_owned(),
        created_at: user.created_at,
    }
}
