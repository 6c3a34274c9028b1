//! Checks that the sign-in behind an access token is still valid.
//!
//! A token proves who signed in. Only the repo knows whether the user was banned since, or the sign-in ended: by a
//! logout at another gateway, or because a refresh token was used twice. Its answer is cached for at most five seconds.

use std::time::Duration;

use moka::future::Cache;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use schemas::pb;
use schemas::token::Claims;

use crate::repo::Repo;

/// Longest lifetime of a cached answer.
const AGE_MAX: Duration = Duration::from_secs(5);

/// Caches valid sign-ins.
#[derive(Debug)]
pub struct SignIns {
    known: Cache<(UserId, i64), ()>,
}

impl SignIns {
    /// Caches up to `entries_max` for `age`, at most five seconds.
    pub fn new(age: Duration, entries_max: u64) -> Self {
        Self { known: Cache::builder().max_capacity(entries_max).time_to_live(age.min(AGE_MAX)).build() }
    }

    /// Checks the sign-in that a token names.
    ///
    /// # Errors
    /// Unauthenticated when it was ended, PermissionDenied when the user is banned; Busy when the repo
    /// does not answer.
    pub async fn check(&self, repo: &Repo, claims: &Claims) -> Result<(), Refusal> {
        let key = (claims.user_id, claims.session_id);
        if self.known.get(&key).await.is_some() {
            return Ok(());
        }
        let request = pb::CheckSignInRequest { user_id: claims.user_id.0, session_id: claims.session_id };
        repo.check_sign_in(request).await?;
        self.known.insert(key, ()).await;
        Ok(())
    }

    pub async fn ended(&self, user: UserId, session_id: i64) {
        self.known.invalidate(&(user, session_id)).await;
    }
}

/// Whether a refusal says that the sign-in is over, rather than that the repo could not tell.
pub fn is_over(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::Unauthenticated | ErrorCode::PermissionDenied)
}
