//! Users. A name and an email address are one user's, whatever the case of their letters.

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;

use super::fault::Fault;
use super::rows::{UserRow, credentials_of, user_of};
use super::session::{Session, Value, values};
use super::statement::Statement;
use crate::repo::model::{Credentials, User, UserPatch, UserStatus};

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT user_id, username, display_name, avatar_url, email, status, created_at, password_hash FROM users ",
            $rest
        )
    };
}

impl Session<'_> {
    pub(super) async fn create_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<(), Fault> {
        if self.insert_user(user, password_hash).await? {
            return Ok(());
        }
        let taken = |what, value| Refusal::new(ErrorCode::UserExists, format!("the {what} {value} is taken")).into();
        if self.credentials(&user.username).await?.is_some() {
            return Err(taken("name", &user.username));
        }
        if self.has_email(&user.email).await? {
            return Err(taken("email address", &user.email));
        }
        Err(Fault::Unreadable(format!("user {}, whose id was to be given to {}", user.id, user.username)))
    }

    /// Whether it was inserted; not when the name, the email address or the id is taken.
    async fn insert_user(&mut self, user: &User, password_hash: Option<&str>) -> Result<bool, Fault> {
        static INSERT: Statement = Statement::new(
            "INSERT INTO users \
             (user_id, username, display_name, avatar_url, email, status, created_at, password_hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .mysql(
            "INSERT INTO users (user_id, username, display_name, avatar_url, email, status, created_at, \
             password_hash, username_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        // MySQL has no index of a part of the rows, and so a table of the addresses.
        static INSERT_EMAIL: Statement = Statement::new("INSERT INTO user_emails (email_key, user_id) VALUES ($1, $2)");
        static DELETE_EMAIL: Statement = Statement::new("DELETE FROM user_emails WHERE email_key = $1");
        let row = values![
            user.id,
            &user.username,
            &user.display_name,
            &user.avatar_url,
            &user.email,
            user.status.name(),
            user.created_at,
            password_hash,
        ];
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Ok(self.insert(&INSERT, row).await?),
            Self::MySql(_) => {
                let (name, email) = (user.username.to_ascii_lowercase(), user.email.to_ascii_lowercase());
                let email = Value::Key(&email);
                // First, and given back where the name is taken: what was inserted before it could not be.
                if !user.email.is_empty() && !self.insert(&INSERT_EMAIL, values![email, user.id]).await? {
                    return Ok(false);
                }
                let inserted = self.insert(&INSERT, &[&row[..], &[Value::Key(&name)]].concat()).await?;
                if !inserted {
                    self.run(&DELETE_EMAIL, values![email]).await?;
                }
                Ok(inserted)
            }
        }
    }

    /// Whether somebody has this email address, whatever the case of its letters.
    async fn has_email(&mut self, email: &str) -> Result<bool, Fault> {
        static FIND: Statement =
            Statement::new("SELECT EXISTS (SELECT 1 FROM users WHERE lower(email COLLATE \"C\") = $1 AND email <> '')")
                .mysql("SELECT EXISTS (SELECT 1 FROM user_emails WHERE email_key = $1)");
        let row: Option<(bool,)> = self.row(&FIND, values![Value::Key(&email.to_ascii_lowercase())]).await?;
        Ok(row.is_some_and(|(found,)| found))
    }

    pub(super) async fn user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        static SELECT: Statement = Statement::new(select_users!("WHERE user_id = $1"));
        self.row::<UserRow>(&SELECT, values![id]).await?.map(user_of).transpose()
    }

    pub(super) async fn lock_user(&mut self, id: UserId) -> Result<Option<User>, Fault> {
        // Not FOR UPDATE, which would wait for everybody who refers to the user just then.
        static LOCK: Statement = Statement::new(select_users!("WHERE user_id = $1 FOR NO KEY UPDATE"));
        self.row::<UserRow>(&LOCK, values![id]).await?.map(user_of).transpose()
    }

    pub(super) async fn credentials(&mut self, username: &str) -> Result<Option<Credentials>, Fault> {
        static SELECT: Statement = Statement::new(select_users!("WHERE lower(username) = $1"))
            .sqlite(select_users!("WHERE username = $1"))
            .mysql(select_users!("WHERE username_key = $1"));
        let row: Option<UserRow> = self.row(&SELECT, values![Value::Key(&username.to_ascii_lowercase())]).await?;
        row.map(credentials_of).transpose()
    }

    pub(super) async fn update_user(&mut self, id: UserId, patch: &UserPatch) -> Result<Option<User>, Fault> {
        static UPDATE: Statement = Statement::new(
            "UPDATE users SET display_name = coalesce($1, display_name), avatar_url = coalesce($2, avatar_url), \
             status = coalesce($3, status) WHERE user_id = $4",
        );
        let status = patch.status.map(UserStatus::name);
        self.run(&UPDATE, values![patch.display_name.as_deref(), patch.avatar_url.as_deref(), status, id]).await?;
        self.user(id).await
    }

    /// The largest id below this one, of a user or a group: both come from the same maker. 0: none.
    pub(super) async fn newest_id(&mut self, below: i64) -> Result<i64, Fault> {
        static SELECT: Statement = Statement::new(
            "SELECT greatest(coalesce((SELECT max(user_id) FROM users WHERE user_id < $1), 0), \
             coalesce((SELECT max(group_id) FROM groups WHERE group_id < $1), 0))",
        );
        let row: Option<(i64,)> = self.row(&SELECT, values![below]).await?;
        Ok(row.map_or(0, |(newest,)| newest))
    }
}
