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

/// What a name or an email address is found by.
fn key_of(text: &str) -> Vec<u8> {
    text.to_ascii_lowercase().into_bytes()
}

/// Whether the user's email address was nobody's.
async fn insert_email(session: &mut Session, user: &User) -> Result<bool, Fault> {
    let insert = sqlx::query("INSERT INTO user_emails (email_key, user_id) VALUES (?, ?)");
    match insert.bind(key_of(&user.email)).bind(user.id.0).execute(session).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

#[async_trait]
impl Users for Session {
    async fn insert_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<bool, Fault> {
        // First, and given back where the name is taken: what was inserted before it could not be.
        if !user.email.is_empty() && !insert_email(self, user).await? {
            return Ok(false);
        }
        let inserted = sqlx::query(
            "INSERT INTO users (user_id, username, username_key, display_name, avatar_url, email, status, created_at, \
             password_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(user.id.0)
        .bind(&user.username)
        .bind(key_of(&user.username))
        .bind(&user.display_name)
        .bind(&user.avatar_url)
        .bind(&user.email)
        .bind(user.status.name())
        .bind(user.created_at)
        .bind(password_hash)
        .execute(&mut *self)
        .await;
        match inserted {
            Ok(_) => Ok(true),
            // The name, or the id.
            Err(error) if is_unique_violation(&error) => {
                let delete = sqlx::query("DELETE FROM user_emails WHERE email_key = ?");
                delete.bind(key_of(&user.email)).execute(self).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_email(&mut self, email: &str) -> Result<bool, Fault> {
        let query = sqlx::query_as("SELECT EXISTS (SELECT 1 FROM user_emails WHERE email_key = ?)");
        let (found,): (bool,) = query.bind(key_of(email)).fetch_one(self).await?;
        Ok(found)
    }

    async fn user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        let row: Option<UserRow> =
            sqlx::query_as(select_users!("WHERE user_id = ?")).bind(id.0).fetch_optional(self).await?;
        row.map(user_of).transpose()
    }

    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        let row: Option<UserRow> =
            sqlx::query_as(select_users!("WHERE user_id = ? FOR UPDATE")).bind(id.0).fetch_optional(self).await?;
        row.map(user_of).transpose()
    }

    async fn credentials(&mut self, username: &str) -> Result<Option<Credentials>, Fault> {
        let row: Option<UserRow> =
            sqlx::query_as(select_users!("WHERE username_key = ?")).bind(key_of(username)).fetch_optional(self).await?;
        row.map(credentials_of).transpose()
    }

    async fn patch_user(&mut self, id: UserId, patch: &UserPatch) -> Result<(), Fault> {
        sqlx::query(
            "UPDATE users SET display_name = coalesce(?, display_name), avatar_url = coalesce(?, avatar_url), \
             status = coalesce(?, status) WHERE user_id = ?",
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
            "SELECT greatest(coalesce((SELECT max(user_id) FROM users WHERE user_id < ?), 0), \
             coalesce((SELECT max(group_id) FROM `groups` WHERE group_id < ?), 0))",
        );
        let (newest,): (i64,) = query.bind(below).bind(below).fetch_one(self).await?;
        Ok(newest)
    }
}
