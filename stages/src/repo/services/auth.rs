//! `AuthService`: sign-in by password, access tokens for a quarter of an hour, refresh tokens that
//! work once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::names::{self, PASSWORD_BYTES};
use schemas::pb;
use schemas::token::Claims;
use sha2::{Digest, Sha256};

use super::users::check_new_user;
use super::{CallError, Repo, input, service};
use crate::repo::fair_queue::Client;
use crate::repo::group_rules::no_user;
use crate::repo::grpc::auth_service_server::AuthService;
use crate::repo::model::{NewToken, OpenSignIn, Rotation, SignIn, TokenHash, UserStatus};

/// Bytes of randomness in a refresh token.
const REFRESH_TOKEN_BYTES: usize = 32;
/// Sign-ins in a list.
const SIGN_INS_MAX: usize = 200;

service! {
    AuthService
    register(RegisterRequest) -> SignedIn;
    login(LoginRequest) -> SignedIn;
    refresh_token(RefreshTokenRequest) -> SignedIn;
    logout(LogoutRequest) -> Empty;
    logout_everywhere(LogoutEverywhereRequest) -> Empty;
    get_sign_ins(GetSignInsRequest) -> GetSignInsResponse;
    change_password(ChangePasswordRequest) -> Empty;
    reset_password(ResetPasswordRequest) -> Empty;
    check_sign_in(CheckSignInRequest) -> Empty;
}

impl Repo {
    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::SignedIn, CallError> {
        let pb::RegisterRequest { username, password, email, display_name, client_address } = request;
        // All that is cheap to refuse comes before the hash.
        check_new_user(&username, &email, &display_name)?;
        names::check_password(&password)?;
        let client = input::client_address(&client_address)?;
        if self.store.credentials(&username).await?.is_some() {
            return Err(Refusal::new(ErrorCode::UserExists, format!("the name {username} is taken")).into());
        }
        let hash = self.0.passwords.hash(names::prepared_password(&password), client).await?;
        let user = self.make_user(username, email, display_name, Some(&hash)).await?;
        self.start_session(user.id, user.username).await
    }

    async fn login(&self, request: pb::LoginRequest) -> Result<pb::SignedIn, CallError> {
        let wrong = || Refusal::new(ErrorCode::Unauthenticated, "the username or the password is wrong");
        if names::check_username(&request.username).is_err() || !may_be_password(&request.password) {
            return Err(wrong().into());
        }
        let client = input::client_address(&request.client_address)?;
        let known = self.store.credentials(&request.username).await?;
        let (user, hash) = known.map_or((None, None), |known| (Some(known.user), known.password_hash));
        // Worked out for nobody too, so that the time does not tell who exists.
        let right = self.is_right(request.password, hash, client).await?;
        let user = user.filter(|_| right).ok_or_else(wrong)?;
        match user.status {
            UserStatus::Active | UserStatus::Inactive => self.start_session(user.id, user.username).await,
            UserStatus::Banned => Err(banned().into()),
        }
    }

    async fn refresh_token(&self, request: pb::RefreshTokenRequest) -> Result<pb::SignedIn, CallError> {
        let used = read_refresh_token(&request.refresh_token).ok_or_else(unknown_token)?;
        let (next, text) = self.new_refresh_token()?;
        match self.store.rotate_token(used, next, self.clock.now_ms()).await? {
            Rotation::Rotated { user, family } => Ok(self.signed_in(user.id, user.username, family, text)),
            Rotation::Reused => {
                tracing::warn!("a refresh token was used twice: its whole sign-in is revoked");
                Err(unknown_token().into())
            }
            Rotation::Unknown => Err(unknown_token().into()),
            Rotation::Banned => Err(banned().into()),
        }
    }

    async fn logout(&self, request: pb::LogoutRequest) -> Result<pb::Empty, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        let family = input::positive("session_id", request.session_id)?;
        self.store.revoke_family(user, family).await?;
        Ok(pb::Empty {})
    }

    async fn logout_everywhere(&self, request: pb::LogoutEverywhereRequest) -> Result<pb::Empty, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        self.end_sign_ins(user, None, None).await
    }

    async fn get_sign_ins(&self, request: pb::GetSignInsRequest) -> Result<pb::GetSignInsResponse, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        let open = self.store.open_sign_ins(user, self.clock.now_ms(), SIGN_INS_MAX).await?;
        let sign_in = |OpenSignIn { family, expires_at }| pb::OpenSignIn {
            session_id: family,
            refreshed_at: expires_at - self.config.refresh_token_ms(),
            expires_at,
        };
        Ok(pb::GetSignInsResponse { sign_ins: open.into_iter().map(sign_in).collect() })
    }

    async fn change_password(&self, request: pb::ChangePasswordRequest) -> Result<pb::Empty, CallError> {
        let pb::ChangePasswordRequest { user_id, session_id, password, new_password, client_address } = request;
        let user = input::user_id("user_id", user_id)?;
        let keep = input::positive("session_id", session_id)?;
        let client = input::client_address(&client_address)?;
        names::check_password(&new_password)?;
        let known = self.store.user(user).await?.ok_or_else(|| no_user(user))?;
        let hash = self.store.credentials(&known.username).await?.and_then(|known| known.password_hash);
        if !may_be_password(&password) || !self.is_right(password, hash, client).await? {
            return Err(Refusal::new(ErrorCode::PermissionDenied, "the password until now is wrong").into());
        }
        let hash = self.0.passwords.hash(names::prepared_password(&new_password), client).await?;
        self.end_sign_ins(user, Some(keep), Some(&hash)).await
    }

    async fn reset_password(&self, request: pb::ResetPasswordRequest) -> Result<pb::Empty, CallError> {
        let user = input::user_id("user_id", request.user_id)?;
        names::check_password(&request.new_password)?;
        let hash = self.0.passwords.hash(names::prepared_password(&request.new_password), None).await?;
        self.end_sign_ins(user, None, Some(&hash)).await
    }

    async fn end_sign_ins(
        &self,
        user: UserId,
        keep: Option<i64>,
        password_hash: Option<&str>,
    ) -> Result<pb::Empty, CallError> {
        if self.store.end_sign_ins(user, keep, password_hash).await? {
            Ok(pb::Empty {})
        } else {
            Err(no_user(user).into())
        }
    }

    async fn is_right(&self, password: String, hash: Option<String>, client: Client) -> Result<bool, CallError> {
        let prepared = names::prepared_password(&password);
        let as_typed = prepared != password;
        let right = self.0.passwords.verify(prepared, hash.clone(), client).await?;
        // Hashes from before passwords were prepared are of what was typed.
        Ok(right || (as_typed && self.0.passwords.verify(password, hash, client).await?))
    }

    /// Refuses a sign-in that was ended, or whose user is banned.
    pub(super) async fn check_sign_in(&self, request: pb::CheckSignInRequest) -> Result<pb::Empty, CallError> {
        let pb::CheckSignInRequest { user_id, session_id } = request;
        let user = input::user_id("user_id", user_id)?;
        let ended = || Refusal::new(ErrorCode::Unauthenticated, "this sign-in was ended: sign in again");
        let SignIn { status, goes_on } =
            self.store.sign_in(user, session_id, self.clock.now_ms()).await?.ok_or_else(ended)?;
        match status {
            UserStatus::Banned => Err(banned().into()),
            UserStatus::Active | UserStatus::Inactive if goes_on => Ok(pb::Empty {}),
            UserStatus::Active | UserStatus::Inactive => Err(ended().into()),
        }
    }

    async fn start_session(&self, user: UserId, username: String) -> Result<pb::SignedIn, CallError> {
        let family = (i64::from_le_bytes(random()?) & i64::MAX) | 1;
        let (token, text) = self.new_refresh_token()?;
        self.store.start_family(user, family, token, self.clock.now_ms()).await?;
        Ok(self.signed_in(user, username, family, text))
    }

    fn signed_in(&self, user: UserId, username: String, family: i64, refresh_token: String) -> pb::SignedIn {
        let expires_at = self.clock.now_ms() + self.config.access_token_ms();
        let access_token = self.signing_key.sign(&Claims { user_id: user, session_id: family, expires_at });
        let expires_in = i64::from(self.config.access_token_seconds);
        pb::SignedIn { user_id: user.0, username, access_token, refresh_token, expires_in }
    }

    /// What is kept of a new refresh token, and its text, which is not kept.
    fn new_refresh_token(&self) -> Result<(NewToken, String), CallError> {
        let secret: [u8; REFRESH_TOKEN_BYTES] = random()?;
        let expires_at = self.clock.now_ms() + self.config.refresh_token_ms();
        Ok((NewToken { hash: Sha256::digest(secret).into(), expires_at }, URL_SAFE_NO_PAD.encode(secret)))
    }
}

/// Whether a password can be anybody's: a hash is worked out for no other.
fn may_be_password(password: &str) -> bool {
    let length = |password: &str| PASSWORD_BYTES.contains(&password.len());
    length(&names::prepared_password(password)) || length(password)
}

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|e| CallError::internal("the system gives no randomness", e))?;
    Ok(bytes)
}

fn read_refresh_token(text: &str) -> Option<TokenHash> {
    let mut secret = [0; REFRESH_TOKEN_BYTES + 1];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut secret).ok()?;
    (length == REFRESH_TOKEN_BYTES).then(|| Sha256::digest(&secret[..length]).into())
}

fn unknown_token() -> Refusal {
    Refusal::new(
        ErrorCode::Unauthenticated,
        "the refresh token was used before, revoked, or has expired: sign in again",
    )
}

pub(super) fn banned() -> Refusal {
    Refusal::new(ErrorCode::PermissionDenied, "this account is banned")
}
