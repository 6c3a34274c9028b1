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
use crate::repo::grpc::auth_service_server::AuthService;
use crate::repo::model::{NewToken, Rotation, SignIn, TokenHash, UserStatus};

/// Bytes of randomness in a refresh token.
const REFRESH_TOKEN_BYTES: usize = 32;

service! {
    AuthService
    register(RegisterRequest) -> SignedIn;
    login(LoginRequest) -> SignedIn;
    refresh_token(RefreshTokenRequest) -> SignedIn;
    logout(LogoutRequest) -> Empty;
    check_sign_in(CheckSignInRequest) -> Empty;
}

impl Repo {
    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::SignedIn, CallError> {
        let pb::RegisterRequest { username, password, email, display_name } = request;
        // All that is cheap to refuse comes before the hash.
        check_new_user(&username, &email, &display_name)?;
        names::check_password(&password)?;
        if self.store.credentials(&username).await?.is_some() {
            return Err(Refusal::new(ErrorCode::UserExists, format!("the name {username} is taken")).into());
        }
        let hash = self.0.passwords.hash(names::prepared_password(&password)).await?;
        let user = self.make_user(username, email, display_name, Some(&hash)).await?;
        self.start_session(user.id, user.username).await
    }

    async fn login(&self, request: pb::LoginRequest) -> Result<pb::SignedIn, CallError> {
        let wrong = || Refusal::new(ErrorCode::Unauthenticated, "the username or the password is wrong");
        let form = names::check_username(&request.username).is_ok();
        let prepared = names::prepared_password(&request.password);
        let length = |password: &str| PASSWORD_BYTES.contains(&password.len());
        if !form || !(length(&prepared) || length(&request.password)) {
            return Err(wrong().into());
        }
        let known = self.store.credentials(&request.username).await?;
        let (user, hash) = known.map_or((None, None), |known| (Some(known.user), known.password_hash));
        // Worked out for nobody too, so that the time does not tell who exists.
        let mut right = self.0.passwords.verify(prepared.clone(), hash.clone()).await?;
        if !right && prepared != request.password {
            // Hashes from before passwords were prepared are of what was typed.
            right = self.0.passwords.verify(request.password, hash).await?;
        }
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
