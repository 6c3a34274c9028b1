//! Users.

use schemas::error::{ErrorCode, Refusal};
use schemas::ids::UserId;
use sqlx::sqlite::SqliteConnection;

use super::Fault;
use crate::repo::model::{Credentials, User, UserPatch, UserStatus};

type UserRow = (i64, String, String, String, String, String, i64, Option<String>);

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT user_id, username, display_name, avatar_url, email, status, created_at, password_hash FROM users ",
            $rest
        )
    };
}

fn credentials_of(row: UserRow) -> Result<Credentials, Fault> {
    let (id, username, display_name, avatar_url, email, status, created_at, password_hash) = row;
    let status = status_of(&status)?;
    let user = User { id: UserId(id), username, display_name, avatar_url, email, status, created_at };
    Ok(Credentials { user, password_hash })
}

pub(super) fn status_of(name: &str) -> Result<UserStatus, Fault> {
    UserStatus::named(name).ok_or_else(|| Fault::Unreadable(format!("user status {name:?}")))
}

pub(super) async fn create(conn: &mut SqliteConnection, user: &User, password_hash: Option<&str>) -> Result<(), Fault> {
    let created = sqlx::query(
        "INSERT INTO users (user_id, username, display_name, avatar_url, email, status, created_at, password_hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (username) DO NOTHING",
    )
    .bind(user.id.0)
    .bind(&user.username)
    .bind(&user.display_name)
    .bind(&user.avatar_url)
    .bind(&user.email)
    .bind(user.status.name())
    .bind(user.created_at)
    .bind(password_hash)
    .execute(conn)
    .await?;
    if created.rows_affected() == 1 {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::UserExists, format!("the name {} is taken", user.username)).into())
}

pub(super) async fn by_id(conn: &mut SqliteConnection, id: UserId) -> Result<Option<User>, Fault> {
    let row: Option<UserRow> =
        sqlx::query_as(select_users!("WHERE user_id = ?")).bind(id.0).fetch_optional(conn).await?;
    Ok(row.map(credentials_of).transpose()?.map(|credentials| credentials.user))
}

pub(super) async fn by_name(conn: &mut SqliteConnection, username: &str) -> Result<Option<Credentials>, Fault> {
    let row: Option<UserRow> =
        sqlx::query_as(select_users!("WHERE username = ?")).bind(username).fetch_optional(conn).await?;
    row.map(credentials_of).transpose()
}

pub(super) async fn update(conn: &mut SqliteConnection, id: UserId, patch: &UserPatch) -> Result<Option<User>, Fault> {
    sqlx::query(
        "UPDATE users SET display_name = coalesce(?, display_name), avatar_url = coalesce(?, avatar_url), \
         status = coalesce(?, status) WHERE user_id = ?",
    )
    .bind(&patch.display_name)
    .bind(&patch.avatar_url)
    .bind(patch.status.map(UserStatus::name))
    .bind(id.0)
    .execute(&mut *conn)
    .await?;
    by_id(conn, id).await
}

/// The newest Snowflake that the repo has made: users and groups have ids from the same maker.
pub(super) async fn newest_id(conn: &mut SqliteConnection, below: i64) -> Result<i64, Fault> {
    let (newest,): (i64,) = sqlx::query_as(
        "SELECT max(coalesce((SELECT max(user_id) FROM users WHERE user_id < ?1), 0), \
         coalesce((SELECT max(group_id) FROM groups WHERE group_id < ?1), 0))",
    )
    .bind(below)
    .fetch_one(conn)
    .await?;
    Ok(newest)
}
