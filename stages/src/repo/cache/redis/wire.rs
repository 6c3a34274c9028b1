//! The encoding of values in Redis: users and members as protobuf messages of the services. Messages are
//! Avro records, as in the topics. Newer versions can read both.

use prost::Message as _;
use schemas::ids::{GroupId, UserId};
use schemas::pb;

use crate::repo::cache::Lookup;
use crate::repo::model::{Membership, User, UserStatus};

/// The first byte of a cached user; the protobuf message follows.
const USER: u8 = b'u';
/// Stands for a user that does not exist.
const ABSENT: &[u8] = b"-";
/// The user has changed: see [`Cache::forget_user`](crate::repo::cache::Cache::forget_user).
pub(super) const FORGOTTEN: &[u8] = b"x";

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn user_bytes(user: Option<&User>) -> Vec<u8> {
    let Some(user) = user else { return ABSENT.to_vec() };
    let message = pb::User {
        user_id: user.id.0,
        username: user.username.clone(),
        display_name: user.display_name.clone(),
        avatar_url: user.avatar_url.clone(),
        email: user.email.clone(),
        status: user.status.name().to_owned(),
        created_at: user.created_at,
    };
    let mut bytes = vec![USER];
    bytes.extend(message.encode_to_vec());
    bytes
}

pub(super) fn read_user(bytes: &[u8]) -> Result<Lookup<User>, Cause> {
    match bytes {
        ABSENT => Ok(Lookup::Absent),
        FORGOTTEN => Ok(Lookup::Unknown),
        [USER, message @ ..] => {
            let message = pb::User::decode(message)?;
            Ok(Lookup::Found(User {
                id: UserId(message.user_id),
                username: message.username,
                display_name: message.display_name,
                avatar_url: message.avatar_url,
                email: message.email,
                status: UserStatus::named(&message.status).ok_or("a status of a user that is not known here")?,
                created_at: message.created_at,
            }))
        }
        _ => Err("neither a user nor a mark".into()),
    }
}

pub(super) fn membership_bytes(membership: &Membership) -> Vec<u8> {
    let user_ids = membership.user_ids.iter().map(|user| user.0).collect();
    let (group_id, version, large) = (membership.group_id.0, membership.version, membership.large);
    pb::Membership { group_id, version, large, user_ids, last_part: true }.encode_to_vec()
}

pub(super) fn read_membership(bytes: &[u8]) -> Result<Membership, Cause> {
    let pb::Membership { group_id, version, large, user_ids, last_part: _ } = pb::Membership::decode(bytes)?;
    let user_ids = user_ids.into_iter().map(UserId).collect();
    Ok(Membership { group_id: GroupId(group_id), version, large, user_ids })
}
