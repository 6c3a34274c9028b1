//! Refresh tokens.

use async_trait::async_trait;
use schemas::ids::UserId;

use super::Session;
use crate::repo::model::{NewToken, SignIn, TokenHash};
use crate::repo::sql::tables::{KeptToken, Tokens};
use crate::repo::sql::{Fault, sign_in_of};

#[async_trait]
impl Tokens for Session {
    async fn token_owner(&mut self, token: TokenHash) -> Result<Option<UserId>, Fault> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT user_id FROM refresh_tokens WHERE token_hash = ?1")
            .bind(token.as_slice())
            .fetch_optional(self)
            .await?;
        Ok(row.map(|(user,)| UserId(user)))
    }

    async fn token(&mut self, token: TokenHash) -> Result<Option<KeptToken>, Fault> {
        let row: Option<(i64, bool, i64)> =
            sqlx::query_as("SELECT family, used, expires_at FROM refresh_tokens WHERE token_hash = ?1")
                .bind(token.as_slice())
                .fetch_optional(self)
                .await?;
        Ok(row.map(|(family, used, expires_at)| KeptToken { family, used, expires_at }))
    }

    async fn insert_token(&mut self, user: UserId, family: i64, token: NewToken) -> Result<(), Fault> {
        sqlx::query(
            "INSERT INTO refresh_tokens (token_hash, family, user_id, used, expires_at) VALUES (?1, ?2, ?3, 0, ?4)",
        )
        .bind(token.hash.as_slice())
        .bind(family)
        .bind(user.0)
        .bind(token.expires_at)
        .execute(self)
        .await?;
        Ok(())
    }

    async fn use_token(&mut self, token: TokenHash) -> Result<(), Fault> {
        sqlx::query("UPDATE refresh_tokens SET used = 1 WHERE token_hash = ?1")
            .bind(token.as_slice())
            .execute(self)
            .await?;
        Ok(())
    }

    async fn delete_family(&mut self, user: UserId, family: i64) -> Result<(), Fault> {
        sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ?1 AND family = ?2")
            .bind(user.0)
            .bind(family)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn delete_expired_tokens(&mut self, user: UserId, now: i64) -> Result<(), Fault> {
        sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ?1 AND expires_at <= ?2")
            .bind(user.0)
            .bind(now)
            .execute(self)
            .await?;
        Ok(())
    }
    async fn sign_in(&mut self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, Fault> {
        let row: Option<(String, bool)> = sqlx::query_as(
            "SELECT u.status, EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = u.user_id AND t.family = ?1 \
             AND t.used = 0 AND t.expires_at > ?2) FROM users u WHERE u.user_id = ?3",
        )
        .bind(family)
        .bind(now)
        .bind(user.0)
        .fetch_optional(self)
        .await?;
        row.map(sign_in_of).transpose()
    }
}
