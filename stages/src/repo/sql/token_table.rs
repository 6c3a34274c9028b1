//! Refresh tokens: the statements are the same in every dialect, but for how a parameter is written.

/// [`Tokens`](super::tables::Tokens) for the connection of a dialect, with its first, second, third and
/// fourth parameter.
macro_rules! token_table {
    ($session:ty, $p1:literal, $p2:literal, $p3:literal, $p4:literal) => {
        #[async_trait]
        impl Tokens for $session {
            async fn token_owner(&mut self, token: TokenHash) -> Result<Option<UserId>, Fault> {
                let sql = concat!("SELECT user_id FROM refresh_tokens WHERE token_hash = ", $p1);
                let row: Option<(i64,)> = sqlx::query_as(sql).bind(token.as_slice()).fetch_optional(self).await?;
                Ok(row.map(|(user,)| UserId(user)))
            }

            async fn token(&mut self, token: TokenHash) -> Result<Option<KeptToken>, Fault> {
                let sql = concat!("SELECT family, used, expires_at FROM refresh_tokens WHERE token_hash = ", $p1);
                let row: Option<(i64, bool, i64)> =
                    sqlx::query_as(sql).bind(token.as_slice()).fetch_optional(self).await?;
                Ok(row.map(|(family, used, expires_at)| KeptToken { family, used, expires_at }))
            }

            async fn insert_token(&mut self, user: UserId, family: i64, token: NewToken) -> Result<(), Fault> {
                let sql = concat!(
                    "INSERT INTO refresh_tokens (token_hash, family, user_id, used, expires_at) ",
                    "VALUES (",
                    $p1,
                    ", ",
                    $p2,
                    ", ",
                    $p3,
                    ", FALSE, ",
                    $p4,
                    ")"
                );
                let insert = sqlx::query(sql).bind(token.hash.as_slice()).bind(family).bind(user.0);
                insert.bind(token.expires_at).execute(self).await?;
                Ok(())
            }

            async fn use_token(&mut self, token: TokenHash) -> Result<(), Fault> {
                sqlx::query(concat!("UPDATE refresh_tokens SET used = TRUE WHERE token_hash = ", $p1))
                    .bind(token.as_slice())
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn delete_family(&mut self, user: UserId, family: i64) -> Result<(), Fault> {
                sqlx::query(concat!("DELETE FROM refresh_tokens WHERE user_id = ", $p1, " AND family = ", $p2))
                    .bind(user.0)
                    .bind(family)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn delete_expired_tokens(&mut self, user: UserId, now: i64) -> Result<(), Fault> {
                sqlx::query(concat!("DELETE FROM refresh_tokens WHERE user_id = ", $p1, " AND expires_at <= ", $p2))
                    .bind(user.0)
                    .bind(now)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn sign_in(&mut self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, Fault> {
                let sql = concat!(
                    "SELECT u.status, EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = u.user_id ",
                    "AND t.family = ",
                    $p1,
                    " AND NOT t.used AND t.expires_at > ",
                    $p2,
                    ") ",
                    "FROM users u WHERE u.user_id = ",
                    $p3
                );
                let row: Option<(String, bool)> =
                    sqlx::query_as(sql).bind(family).bind(now).bind(user.0).fetch_optional(self).await?;
                row.map(sign_in_of).transpose()
            }
        }
    };
}
pub(in crate::repo) use token_table;
