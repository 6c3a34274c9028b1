//! Refresh tokens: each works once, and a second use ends the sign-in that it descends from
//! (RFC 9700, section 4.14.2).

use schemas::ids::UserId;
use sqlx::sqlite::SqliteConnection;

use super::{Fault, users};
use crate::repo::model::{NewToken, Rotation, SignIn, TokenHash, UserStatus};

pub(super) async fn start(
    conn: &mut SqliteConnection,
    user: UserId,
    family: i64,
    token: NewToken,
    now: i64,
) -> Result<(), Fault> {
    sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ? AND expires_at <= ?")
        .bind(user.0)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    insert(conn, user, family, token).await
}

pub(super) async fn rotate(
    conn: &mut SqliteConnection,
    used: TokenHash,
    next: NewToken,
    now: i64,
) -> Result<Rotation, Fault> {
    let row: Option<(i64, i64, bool, i64)> =
        sqlx::query_as("SELECT user_id, family, used, expires_at FROM refresh_tokens WHERE token_hash = ?")
            .bind(used.as_slice())
            .fetch_optional(&mut *conn)
            .await?;
    let Some((user_id, family, was_used, expires_at)) = row else { return Ok(Rotation::Unknown) };
    if was_used {
        revoke(conn, used).await?;
        return Ok(Rotation::Reused);
    }
    if expires_at <= now {
        return Ok(Rotation::Unknown);
    }
    let user = users::by_id(conn, UserId(user_id)).await?;
    let user = user.ok_or_else(|| Fault::Unreadable(format!("a refresh token of user {user_id}, who is not there")))?;
    match user.status {
        UserStatus::Active | UserStatus::Inactive => {}
        UserStatus::Banned => {
            revoke(conn, used).await?;
            return Ok(Rotation::Banned);
        }
    }
    sqlx::query("UPDATE refresh_tokens SET used = 1 WHERE token_hash = ?")
        .bind(used.as_slice())
        .execute(&mut *conn)
        .await?;
    insert(conn, user.id, family, next).await?;
    Ok(Rotation::Rotated { user, family })
}

/// A sign-in goes on while the newest token of its family is good.
pub(super) async fn sign_in(
    conn: &mut SqliteConnection,
    user: UserId,
    family: i64,
    now: i64,
) -> Result<Option<SignIn>, Fault> {
    let row: Option<(String, bool)> = sqlx::query_as(
        "SELECT status, EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = users.user_id AND t.family = ? \
         AND t.used = 0 AND t.expires_at > ?) FROM users WHERE user_id = ?",
    )
    .bind(family)
    .bind(now)
    .bind(user.0)
    .fetch_optional(conn)
    .await?;
    let Some((status, goes_on)) = row else { return Ok(None) };
    Ok(Some(SignIn { status: users::status_of(&status)?, goes_on }))
}

/// Without its rows, no token of the family is known any more.
pub(super) async fn revoke(conn: &mut SqliteConnection, token: TokenHash) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM refresh_tokens WHERE (user_id, family) = \
         (SELECT user_id, family FROM refresh_tokens WHERE token_hash = ?)",
    )
    .bind(token.as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut SqliteConnection, user: UserId, family: i64, token: NewToken) -> Result<(), Fault> {
    sqlx::query("INSERT INTO refresh_tokens (token_hash, family, user_id, used, expires_at) VALUES (?, ?, ?, 0, ?)")
        .bind(token.hash.as_slice())
        .bind(family)
        .bind(user.0)
        .bind(token.expires_at)
        .execute(conn)
        .await?;
    Ok(())
}
