//! Making a user, whose name and email address are nobody else's.

use super::Fault;
use super::tables::Tables;
use crate::repo::model::User;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    Yes,
    NameTaken,
    EmailTaken,
}

pub(super) async fn create(
    tables: &mut dyn Tables,
    user: &User,
    password_hash: Option<&str>,
) -> Result<Created, Fault> {
    if tables.insert_user(user, password_hash).await? {
        return Ok(Created::Yes);
    }
    if tables.credentials(&user.username).await?.is_some() {
        return Ok(Created::NameTaken);
    }
    if tables.has_email(&user.email).await? {
        return Ok(Created::EmailTaken);
    }
    Err(Fault::Unreadable(format!("user {}, whose id was to be given to {}", user.id, user.username)))
}
