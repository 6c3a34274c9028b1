//! Refresh tokens: each works once, and a second use ends the sign-in that it descends from
//! (RFC 9700, section 4.14.2).
//!
//! Whatever touches a user's tokens holds the user first: otherwise a token that is rotated while its
//! family is revoked would survive.

use schemas::ids::UserId;

use super::Fault;
use super::tables::Tables;
use crate::repo::model::{NewToken, Rotation, TokenHash, UserStatus};

pub(super) async fn start(
    tables: &mut dyn Tables,
    user: UserId,
    family: i64,
    token: NewToken,
    now: i64,
) -> Result<(), Fault> {
    tables.lock_user(user).await?;
    tables.delete_expired_tokens(user, now).await?;
    tables.insert_token(user, family, token).await
}

pub(super) async fn rotate(
    tables: &mut dyn Tables,
    used: TokenHash,
    next: NewToken,
    now: i64,
) -> Result<Rotation, Fault> {
    let Some(owner) = tables.token_owner(used).await? else { return Ok(Rotation::Unknown) };
    let user = tables.lock_user(owner).await?;
    let user = user.ok_or_else(|| Fault::Unreadable(format!("a refresh token of user {owner}, who is not there")))?;
    let Some(kept) = tables.token(used).await? else { return Ok(Rotation::Unknown) };
    if kept.used {
        tables.delete_family(owner, kept.family).await?;
        return Ok(Rotation::Reused);
    }
    if kept.expires_at <= now {
        return Ok(Rotation::Unknown);
    }
    match user.status {
        UserStatus::Active | UserStatus::Inactive => {}
        UserStatus::Banned => {
            tables.delete_family(owner, kept.family).await?;
            return Ok(Rotation::Banned);
        }
    }
    tables.use_token(used).await?;
    tables.insert_token(owner, kept.family, next).await?;
    Ok(Rotation::Rotated { user, family: kept.family })
}

/// Without its rows, no token of the family is known any more.
pub(super) async fn revoke(tables: &mut dyn Tables, user: UserId, family: i64) -> Result<(), Fault> {
    tables.lock_user(user).await?;
    tables.delete_family(user, family).await
}
