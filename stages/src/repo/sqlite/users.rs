//! Users.

use async_trait::async_trait;
use schemas::ids::UserId;

use super::Session;
use crate::repo::model::{Credentials, User, UserPatch, UserStatus};
use crate::repo::sql::tables::Users;
use crate::repo::sql::{Fault, UserRow, credentials_of, user_of};

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT user_id, username, display_name, avatar_url, email, status, created_at, password_hash FROM users ",
            $rest
        )
    };
}

#[async_trait]
impl Users for Session {
    async fn insert_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<bool, Fault> {
        let inserted = sqlx::query(
            "INSERT INTO users \
             (user_id, username, display_name, avatar_url, email, status, created_at, password_hash) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )
        .bind(user.id.0)
        .bind(&user.username)
        .bind(&user.display_name)
        .bind(&user.avatar_url)
        .bind(&user.email)
        .bind(user.status.name())
        .bind(user.created_at)
        .bind(password_hash)
        .execute(self)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn has_email(&mut self, email: &str) -> Result<bool, Fault> {
        let query = sqlx::query_as("SELECT EXISTS (SELECT 1 FROM users WHERE lower(email) = ?1 AND email <> '')");
        let (found,): (bool,) = query.bind(email.to_ascii_lowercase()).fetch_one(self).await?;
        Ok(found)
    }

    async fn user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        let row: Option<UserRow> =
            sqlx::query_as(select_users!("WHERE user_id = ?1")).bind(id.0).fetch_optional(self).await?;
        row.map(user_of).transpose()
    }

    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        self.user(id).await
    }

    async fn credentials(&mut self, username: &str) -> Result<Option<Credentials>, Fault> {
        let row: Option<UserRow> =
            sqlx::query_as(select_users!("WHERE username = ?1")).bind(username).fetch_optional(self).await?;
        row.map(credentials_of).transpose()
    }

    async fn patch_user(&mut self, id: UserId, patch: &UserPatch) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE users SET display_name = coalesce(?1, display_name), avatar_url = coalesce(?2, avatar_url), \
             status = coalesce(?3, status) WHERE user_id = ?4",
        )
        .bind(&patch.display_name)
        .bind(&patch.avatar_url)
        .bind(patch.status.map(UserStatus::name))
        .bind(id.0)
        .execute(self)
        .await?;
        Ok(())
    }
    async fn newest_id(&mut self, below: i64) -> Result<i64, Fault> {
        let query = sqlx::query_as(
            "SELECT max(coalesce((SELECT max(user_id) FROM users WHERE user_id < ?1), 0), \
             coalesce((SELECT max(group_id) FROM groups WHERE group_id < ?1), 0))",
        );
        let (newest,): (i64,) = query.bind(below).fetch_one(self).await?;
        Ok(newest)
    }
}
