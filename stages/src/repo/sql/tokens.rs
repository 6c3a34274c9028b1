//! Refresh tokens: each works once, and a second use ends the sign-in that it descends from
//! (RFC 9700, section 4.14.2).
//!
//! Whatever touches a user's tokens holds the user first: otherwise a token that is rotated while its
//! family is revoked would survive.

use schemas::ids::UserId;

use super::fault::Fault;
use super::rows::{limit_of, sign_in_of};
use super::session::{Session, values};
use super::statement::Statement;
use crate::repo::model::{NewToken, OpenSignIn, Rotation, SignIn, TokenHash, UserStatus};

impl Session<'_> {
    pub(super) async fn start_family(
        &mut self,
        user: UserId,
        family: i64,
        token: NewToken,
        now: i64,
    ) -> Result<(), Fault> {
        static DELETE_EXPIRED: Statement =
            Statement::new("DELETE FROM refresh_tokens WHERE user_id = $1 AND expires_at <= $2");
        self.lock_user(user).await?;
        self.run(&DELETE_EXPIRED, values![user, now]).await?;
        self.insert_token(user, family, token).await
    }

    pub(super) async fn rotate_token(&mut self, used: TokenHash, next: NewToken, now: i64) -> Result<Rotation, Fault> {
        static OWNER: Statement = Statement::new("SELECT user_id FROM refresh_tokens WHERE token_hash = $1");
        static TOKEN: Statement =
            Statement::new("SELECT family, used, expires_at FROM refresh_tokens WHERE token_hash = $1");
        static USE: Statement = Statement::new("UPDATE refresh_tokens SET used = TRUE WHERE token_hash = $1");
        let owner: Option<(i64,)> = self.row(&OWNER, values![&used]).await?;
        let Some(owner) = owner.map(|(id,)| UserId(id)) else { return Ok(Rotation::Unknown) };
        let user = self.lock_user(owner).await?;
        let user =
            user.ok_or_else(|| Fault::Unreadable(format!("a refresh token of user {owner}, who is not there")))?;
        let kept: Option<(i64, bool, i64)> = self.row(&TOKEN, values![&used]).await?;
        let Some((family, was_used, expires_at)) = kept else { return Ok(Rotation::Unknown) };
        if was_used {
            self.delete_family(owner, family).await?;
            return Ok(Rotation::Reused);
        }
        if expires_at <= now {
            return Ok(Rotation::Unknown);
        }
        match user.status {
            UserStatus::Active | UserStatus::Inactive => {}
            UserStatus::Banned => {
                self.delete_family(owner, family).await?;
                return Ok(Rotation::Banned);
            }
        }
        self.run(&USE, values![&used]).await?;
        self.insert_token(owner, family, next).await?;
        Ok(Rotation::Rotated { user, family })
    }

    /// Without its rows, no token of the family is known any more.
    pub(super) async fn revoke_family(&mut self, user: UserId, family: i64) -> Result<(), Fault> {
        self.lock_user(user).await?;
        self.delete_family(user, family).await
    }

    pub(super) async fn end_sign_ins(
        &mut self,
        user: UserId,
        keep: Option<i64>,
        password_hash: Option<&str>,
    ) -> Result<bool, Fault> {
        static SET_PASSWORD: Statement = Statement::new("UPDATE users SET password_hash = $1 WHERE user_id = $2");
        // No family is 0.
        static DELETE: Statement = Statement::new("DELETE FROM refresh_tokens WHERE user_id = $1 AND family <> $2");
        if self.lock_user(user).await?.is_none() {
            return Ok(false);
        }
        if password_hash.is_some() {
            self.run(&SET_PASSWORD, values![password_hash, user]).await?;
        }
        self.run(&DELETE, values![user, keep.unwrap_or(0)]).await?;
        Ok(true)
    }

    pub(super) async fn open_sign_ins(
        &mut self,
        user: UserId,
        now: i64,
        limit: usize,
    ) -> Result<Vec<OpenSignIn>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT family, expires_at FROM refresh_tokens WHERE user_id = $1 AND NOT used AND expires_at > $2 \
             ORDER BY expires_at DESC, family LIMIT $3",
        );
        let rows: Vec<(i64, i64)> = self.rows(&SELECT, values![user, now, limit_of(limit)]).await?;
        Ok(rows.into_iter().map(|(family, expires_at)| OpenSignIn { family, expires_at }).collect())
    }

    /// A sign-in goes on while the newest token of its family is good.
    pub(super) async fn sign_in(&mut self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT u.status, EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.user_id = u.user_id \
             AND t.family = $1 AND NOT t.used AND t.expires_at > $2) FROM users u WHERE u.user_id = $3",
        );
        let row: Option<(String, bool)> = self.row(&SELECT, values![family, now, user]).await?;
        row.map(sign_in_of).transpose()
    }

    async fn insert_token(&mut self, user: UserId, family: i64, token: NewToken) -> Result<(), Fault> {
        static INSERT: Statement = Statement::new(
            "INSERT INTO refresh_tokens (token_hash, family, user_id, used, expires_at) \
             VALUES ($1, $2, $3, FALSE, $4)",
        );
        self.run(&INSERT, values![&token.hash, family, user, token.expires_at]).await?;
        Ok(())
    }

    async fn delete_family(&mut self, user: UserId, family: i64) -> Result<(), Fault> {
        static DELETE: Statement = Statement::new("DELETE FROM refresh_tokens WHERE user_id = $1 AND family = $2");
        self.run(&DELETE, values![user, family]).await?;
        Ok(())
    }
}
