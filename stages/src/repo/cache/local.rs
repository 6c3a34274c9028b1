//! The cache in this process: the default, with no service to install.
//!
//! Bounded by entries and bytes; what is used least goes first (moka's TinyLFU). A conversation's
//! messages are kept from the first time somebody reads them; until then what the chain appends is
//! passed over, since nobody may ever ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::future::Cache as Moka;
use moka::ops::compute::Op;
use schemas::ids::{ConversationId, GroupId, Seq, UserId};
use schemas::records::Sequenced;
use schemas::setting::{InvalidSetting, Section};

use super::hot::{self, Source};
use super::{Cache, CacheError, Lifetimes, Lookup, UserSession};
use crate::repo::model::{Membership, User};

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// Most users that are kept.
    pub users_max: u64,
    /// Most sign-ins that are kept.
    pub sessions_max: u64,
    /// Memory for messages, in MiB.
    pub messages_mib_max: u64,
    /// Memory for members of groups, in MiB.
    pub members_mib_max: u64,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { users_max: 200_000, sessions_max: 1_000_000, messages_mib_max: 128, members_mib_max: 32 }
    }
}

impl LocalConfig {
    /// Judges the values; `section` is where they stand in the configuration.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that can't be used.
    pub fn check(&self, section: Section<'_>) -> Result<(), InvalidSetting> {
        section.within("users_max", self.users_max, 0..=100_000_000)?;
        section.within("sessions_max", self.sessions_max, 0..=100_000_000)?;
        section.within("messages_mib_max", self.messages_mib_max, 0..=1 << 20)?;
        section.within("members_mib_max", self.members_mib_max, 0..=1 << 20)
    }
}

/// A [`Cache`] in this process.
pub struct LocalCache {
    users: Moka<UserId, Kept>,
    sessions: Moka<UserId, UserSession>,
    members: Moka<GroupId, Arc<Membership>>,
    messages: Moka<ConversationId, Arc<[Arc<Sequenced>]>>,
}

/// What is kept of a user.
#[derive(Debug, Clone)]
enum Kept {
    User(Arc<User>),
    Absent,
    /// They have changed: what was read before must not be kept any more.
    Forgotten,
}

struct UserExpiry(Lifetimes);

impl Expiry<UserId, Kept> for UserExpiry {
    fn expire_after_create(&self, _: &UserId, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(match kept {
            Kept::User(_) => self.0.user,
            Kept::Absent => self.0.absent_user,
            Kept::Forgotten => self.0.forgotten_user,
        })
    }

    fn expire_after_update(&self, id: &UserId, kept: &Kept, at: Instant, _: Option<Duration>) -> Option<Duration> {
        self.expire_after_create(id, kept, at)
    }
}

impl LocalCache {
    /// What a message takes beside its texts: the record, its counts, and its place in a run.
    pub const MESSAGE_BYTES: usize = size_of::<Sequenced>() + 3 * size_of::<usize>();

    pub fn new(config: &LocalConfig, lifetimes: Lifetimes) -> Self {
        Self {
            users: Moka::builder().max_capacity(config.users_max).expire_after(UserExpiry(lifetimes)).build(),
            sessions: Moka::builder().max_capacity(config.sessions_max).time_to_live(lifetimes.session).build(),
            members: Moka::builder()
                .max_capacity(config.members_mib_max << 20)
                .weigher(|_, membership: &Arc<Membership>| {
                    weight(size_of::<Membership>() + membership.user_ids.len() * size_of::<UserId>())
                })
                .time_to_live(lifetimes.membership)
                .build(),
            messages: Moka::builder()
                .max_capacity(config.messages_mib_max << 20)
                .weigher(|_, run: &Arc<[Arc<Sequenced>]>| weight(run.iter().map(|message| bytes_of(message)).sum()))
                .time_to_live(lifetimes.messages)
                .build(),
        }
    }

    /// Returns once everything over a bound is gone, which is otherwise done on the side.
    pub async fn settled(&self) {
        self.users.run_pending_tasks().await;
        self.sessions.run_pending_tasks().await;
        self.members.run_pending_tasks().await;
        self.messages.run_pending_tasks().await;
    }

    async fn merge(&self, conversation: ConversationId, part: &[Arc<Sequenced>], source: Source) {
        let entry = self.messages.entry(conversation);
        let merged = entry.and_compute_with(|kept| {
            let op = match (kept, source) {
                (Some(kept), Source::Chain | Source::Store) => Op::Put(hot::merged(kept.value(), part, source).into()),
                (None, Source::Store) => Op::Put(hot::merged(&[], part, source).into()),
                (None, Source::Chain) => Op::Nop,
            };
            std::future::ready(op)
        });
        merged.await;
    }
}

#[async_trait]
impl Cache for LocalCache {
    async fn user(&self, id: UserId) -> Result<Lookup<User>, CacheError> {
        Ok(match self.users.get(&id).await {
            Some(Kept::User(user)) => Lookup::Found(User::clone(&user)),
            Some(Kept::Absent) => Lookup::Absent,
            Some(Kept::Forgotten) | None => Lookup::Unknown,
        })
    }

    async fn put_user(&self, id: UserId, user: Option<&User>) -> Result<(), CacheError> {
        let kept = user.map_or(Kept::Absent, |user| Kept::User(Arc::new(user.clone())));
        self.users.entry(id).or_insert(kept).await;
        Ok(())
    }

    async fn forget_user(&self, id: UserId) -> Result<(), CacheError> {
        self.users.insert(id, Kept::Forgotten).await;
        Ok(())
    }

    async fn session(&self, user: UserId) -> Result<Option<UserSession>, CacheError> {
        Ok(self.sessions.get(&user).await)
    }

    async fn put_session(&self, session: &UserSession) -> Result<(), CacheError> {
        self.sessions.insert(session.user_id, session.clone()).await;
        Ok(())
    }

    async fn membership(&self, group: GroupId) -> Result<Option<Arc<Membership>>, CacheError> {
        Ok(self.members.get(&group).await)
    }

    async fn put_membership(&self, membership: &Membership) -> Result<(), CacheError> {
        self.members.insert(membership.group_id, Arc::new(membership.clone())).await;
        Ok(())
    }

    async fn messages(&self, conversation: ConversationId, from: Seq) -> Result<Vec<Arc<Sequenced>>, CacheError> {
        let Some(run) = self.messages.get(&conversation).await else { return Ok(Vec::new()) };
        Ok(hot::from(&run, from).to_vec())
    }

    async fn append(&self, batch: &[&Sequenced]) -> Result<(), CacheError> {
        for part in hot::parts(batch) {
            let conversation = part[0].conversation_id;
            // Looked up first: most conversations are not kept, and need no copy then. One that a reader
            // begins at this very moment may miss the part: its run then ends before the head.
            if self.messages.contains_key(&conversation) {
                let part: Vec<_> = part.into_iter().cloned().map(Arc::new).collect();
                self.merge(conversation, &part, Source::Chain).await;
            }
        }
        Ok(())
    }

    async fn fill(&self, conversation: ConversationId, run: &[Arc<Sequenced>]) -> Result<(), CacheError> {
        self.merge(conversation, run, Source::Store).await;
        Ok(())
    }

    async fn forget_messages(&self, below: &BTreeMap<ConversationId, Seq>) -> Result<(), CacheError> {
        for (&conversation, &below) in below {
            let forgotten = self.messages.entry(conversation).and_compute_with(|kept| {
                let left: Vec<_> = kept.iter().flat_map(|kept| hot::from(kept.value(), below)).cloned().collect();
                std::future::ready(if left.is_empty() { Op::Remove } else { Op::Put(left.into()) })
            });
            forgotten.await;
        }
        Ok(())
    }

    async fn probe(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

fn bytes_of(message: &Sequenced) -> usize {
    LocalCache::MESSAGE_BYTES + message.content.len() + message.client_msg_id.len()
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
