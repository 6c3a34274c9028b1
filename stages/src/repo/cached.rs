//! A store with a cache before it: the same answers, sooner.
//!
//! A read asks the cache first and fills it from the store; concurrent misses of one key share one read.
//! The answers stay right even if the cache loses, delays or resurrects entries:
//! - **messages** count only if they reach the conversation's head without a gap, and from the first that was not
//!   removed; both are read from the store first, and edits and recalls are applied on reading
//!   ([`hot`](super::cache::hot));
//! - **members** count only at the group's current version, which is read from the store first;
//! - **users** are invalidated when they change, and a value read before the change is not put back. A
//!   restarted Redis does not find the users it knew.
//!
//! Rights, heads and lists of conversations are read from the store: they change with every message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::kind::Kind;
use schemas::records::Sequenced;
use tokio::time::Instant;

use super::cache::hot::{BeyondRun, Run, Span, record_of};
use super::cache::{Cache, CacheError, HOT_MESSAGES_MAX, KEPT_MESSAGES, Lookup};
use super::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Extent, Group, GroupChange, HistoryPage, HistoryRange,
    Member, Membership, Message, NewGroup, NewToken, OpenSignIn, RaisedMark, ReadMark, Rotation,
    SMALL_GROUP_MEMBERS_MAX, SignIn, Standing, TokenHash, User, UserPatch,
};
use super::single_flight::SingleFlight;
use super::store::{Conversations, Groups, MessageSink, ServiceStore, StoreError, Users};

/// A read that took longer is not cached: the invalidation of a later change may have expired meanwhile.
/// Less than [`Lifetimes::forgotten_user`](super::cache::Lifetimes::forgotten_user).
const KEPT_WITHIN: Duration = Duration::from_secs(10);

/// A store that remembers. What the chain and the services write goes through it, in every process.
pub struct CachedStore {
    sink: Arc<dyn MessageSink>,
    store: Arc<dyn ServiceStore>,
    cache: Arc<dyn Cache>,
    users: SingleFlight<UserId, Shared<Option<User>>>,
    members: SingleFlight<GroupId, Shared<Option<Arc<Membership>>>>,
    messages: SingleFlight<(ConversationId, usize), Shared<Vec<Arc<Sequenced>>>>,
}

/// An answer that several callers share.
type Shared<T> = Result<T, Arc<StoreError>>;

impl CachedStore {
    /// One store behind a cache, as the chain and as the services reach it.
    pub fn new(sink: Arc<dyn MessageSink>, store: Arc<dyn ServiceStore>, cache: Arc<dyn Cache>) -> Self {
        let (users, members, messages) = (SingleFlight::new(), SingleFlight::new(), SingleFlight::new());
        Self { sink, store, cache, users, members, messages }
    }

    async fn load_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let (store, cache) = (Arc::clone(&self.store), Arc::clone(&self.cache));
        let load = async move {
            let started = Instant::now();
            let user = store.user(id).await.map_err(Arc::new)?;
            if started.elapsed() < KEPT_WITHIN {
                note("user", cache.put_user(id, user.as_ref()).await);
            }
            Ok(user)
        };
        Ok(self.users.join(id, load).await?)
    }

    async fn load_membership(&self, group: GroupId) -> Result<Option<Arc<Membership>>, StoreError> {
        let (store, cache) = (Arc::clone(&self.store), Arc::clone(&self.cache));
        let load = async move {
            let membership = store.membership(group).await.map_err(Arc::new)?;
            if let Some(membership) = &membership {
                note("members", cache.put_membership(membership).await);
            }
            Ok(membership.map(Arc::new))
        };
        Ok(self.members.join(group, load).await?)
    }

    /// Reads the newest messages from the store and caches them.
    async fn load_messages(&self, id: ConversationId, count: usize) -> Result<Vec<Arc<Sequenced>>, StoreError> {
        let (store, cache) = (Arc::clone(&self.store), Arc::clone(&self.cache));
        let load = async move {
            let page = store.history(id, HistoryRange::Newest, Seq(1), count).await.map_err(Arc::new)?;
            let run: Vec<_> = page.messages.into_iter().map(|message| Arc::new(record_of(message))).collect();
            note("messages", cache.fill(id, &run).await);
            Ok(run)
        };
        Ok(self.messages.join((id, count), load).await?)
    }

    /// A page from the cache, or the seq from which messages are missing. It looks twice when the page has an
    /// edit of an earlier message, which may be recalled.
    async fn cached_page(&self, wanted: PageRequest, from: Seq, head: Seq) -> Result<HistoryPage, BeyondRun> {
        let look = async |from| {
            let messages = note("messages", self.cache.messages(wanted.conversation, from).await);
            messages.and_then(|messages| Run::of(messages, from, head)).ok_or(BeyondRun(from))
        };
        match wanted.page_of(&look(from).await?) {
            Err(BeyondRun(earlier)) if is_hot(earlier, head) => wanted.page_of(&look(earlier).await?),
            page => page,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct PageRequest {
    conversation: ConversationId,
    range: HistoryRange,
    first: Seq,
    limit: usize,
    /// The first message of the conversation that is still there.
    kept_from: Seq,
}

impl PageRequest {
    fn page_of(&self, run: &Run) -> Result<HistoryPage, BeyondRun> {
        run.page(self.range, self.first, self.limit, self.kept_from)
    }
}

/// Whether a seq may be cached.
fn is_hot(seq: Seq, head: Seq) -> bool {
    reach(seq, head) <= HOT_MESSAGES_MAX
}

/// How many messages there are from a seq to the head.
fn reach(seq: Seq, head: Seq) -> usize {
    usize::try_from(head.0.saturating_sub(seq.0).saturating_add(1)).unwrap_or(usize::MAX)
}

/// The cache's answer, if it gave one. Failures are counted; the health check reports an outage.
fn note<T>(what: &'static str, answer: Result<T, CacheError>) -> Option<T> {
    answer
        .inspect_err(|error| {
            metrics::counter!("gochat_cache_errors_total", "what" => what).increment(1);
            match error {
                CacheError::Away { .. } => tracing::debug!(what, %error, "the cache is bypassed"),
                CacheError::Unreadable { .. } | CacheError::Address(_) => {
                    tracing::warn!(what, %error, "the cache is bypassed");
                }
            }
        })
        .ok()
}

fn hit(what: &'static str) {
    metrics::counter!("gochat_cache_hits_total", "what" => what).increment(1);
}

fn miss(what: &'static str) {
    metrics::counter!("gochat_cache_misses_total", "what" => what).increment(1);
}

#[async_trait]
impl MessageSink for CachedStore {
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError> {
        let raised = self.sink.write_batch(batch).await?;
        note("messages", self.cache.append(batch).await);
        let mut below = BTreeMap::new();
        for recall in batch.iter().filter(|message| message.kind == Kind::Recall) {
            let newest = below.entry(recall.conversation_id).or_insert(recall.seq_id);
            *newest = recall.seq_id.max(*newest);
        }
        // What the recalled message said, and its edits: the store has them without their text.
        if !below.is_empty() {
            note("messages", self.cache.forget_messages(&below).await);
        }
        Ok(raised)
    }
}

/// A trait of the store: methods that the store answers, and those that the cache may.
macro_rules! cached {
    ($trait:ident by_store { $($method:ident($($given:ident: $type:ty),*) -> $answer:ty;)* } by_cache { $($own:tt)* }) => {
        #[async_trait]
        impl $trait for CachedStore {
            $(async fn $method(&self, $($given: $type),*) -> Result<$answer, StoreError> {
                self.store.$method($($given),*).await
            })*
            $($own)*
        }
    };
}

cached! {
    Conversations
    by_store {
        messages(ids: &[MessageId]) -> Vec<Message>;
        message_at(conversation: ConversationId, seq: Seq) -> Option<Message>;
        extent(conversation: ConversationId) -> Extent;
        conversations(user: UserId, after: Option<ConversationsAfter>, limit: usize) -> Vec<ConversationView>;
        heads(user: UserId, since: i64, limit: usize) -> Vec<(ConversationId, Seq)>;
        standing(conversation: ConversationId, user: UserId) -> Option<Standing>;
        read_marks(conversation: ConversationId) -> Vec<ReadMark>;
    }
    by_cache {
    async fn history(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        let Extent { first: kept_from, last: head } = self.store.extent(conversation).await?;
        let first = first.max(kept_from);
        let wanted = PageRequest { conversation, range, first, limit, kept_from };
        let Some(Span { from, .. }) = Span::of(range, first, limit, head) else {
            return Ok(HistoryPage { messages: Vec::new(), has_more: false, first_seq: kept_from, last_seq: head });
        };
        if !is_hot(from, head) {
            return self.store.history(conversation, range, first, limit).await;
        }
        let needed = match self.cached_page(wanted, from, head).await {
            Ok(page) => {
                hit("messages");
                return Ok(page);
            }
            Err(BeyondRun(needed)) => needed,
        };
        miss("messages");
        if !is_hot(needed, head) {
            return self.store.history(conversation, range, first, limit).await;
        }
        // A reader who scrolls back is likely to go on.
        let count = if reach(needed, head) <= KEPT_MESSAGES { KEPT_MESSAGES } else { HOT_MESSAGES_MAX };
        let loaded = Run::of(self.load_messages(conversation, count).await?, from, head);
        match loaded.map(|run| wanted.page_of(&run)) {
            Some(Ok(page)) => Ok(page),
            Some(Err(BeyondRun(_))) | None => self.store.history(conversation, range, first, limit).await,
        }
    }
    }
}

cached! {
    Users
    by_store {
        newest_id(below: i64) -> i64;
        sign_in(user: UserId, family: i64, now: i64) -> Option<SignIn>;
        credentials(username: &str) -> Option<Credentials>;
        users(ids: &[UserId]) -> Vec<User>;
        start_family(user: UserId, family: i64, token: NewToken, now: i64) -> ();
        rotate_token(used: TokenHash, next: NewToken, now: i64) -> Rotation;
        revoke_family(user: UserId, family: i64) -> ();
        end_sign_ins(user: UserId, keep: Option<i64>, password_hash: Option<&str>) -> bool;
        open_sign_ins(user: UserId, now: i64, limit: usize) -> Vec<OpenSignIn>;
    }
    by_cache {
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        match note("user", self.cache.user(id).await).unwrap_or(Lookup::Unknown) {
            Lookup::Found(user) => {
                hit("user");
                Ok(Some(user))
            }
            Lookup::Absent => {
                hit("user");
                Ok(None)
            }
            Lookup::Unknown => {
                miss("user");
                self.load_user(id).await
            }
        }
    }

    async fn create_user(&self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError> {
        let created = self.store.create_user(user, password_hash).await;
        // Their absence may be cached.
        self.users.forget(&user.id);
        note("user", self.cache.forget_user(user.id).await);
        created
    }

    async fn update_user(&self, id: UserId, patch: &UserPatch) -> Result<Option<User>, StoreError> {
        let updated = self.store.update_user(id, patch).await;
        // After a failure too: the change may have been committed.
        self.users.forget(&id);
        note("user", self.cache.forget_user(id).await);
        updated
    }
    }
}

cached! {
    Groups
    by_store {
        create_group(group: &NewGroup, act: &Act) -> Group;
        change_group(group: GroupId, change: &GroupChange, act: &Act) -> Group;
        group(id: GroupId) -> Option<Group>;
        members(group: GroupId, after: UserId, limit: usize) -> Vec<Member>;
        members_among(group: GroupId, users: &[UserId]) -> Vec<Member>;
    }
    by_cache {
    /// Members of a small group come from the store: reading them costs as much as reading the version.
    async fn membership(&self, group: GroupId) -> Result<Option<Membership>, StoreError> {
        let Some(Group { version, member_count, .. }) = self.store.group(group).await? else { return Ok(None) };
        if member_count <= SMALL_GROUP_MEMBERS_MAX {
            return self.store.membership(group).await;
        }
        let kept = note("members", self.cache.membership(group).await).flatten();
        if let Some(membership) = kept.filter(|kept| kept.version == version) {
            hit("members");
            return Ok(Some(Membership::clone(&membership)));
        }
        miss("members");
        match self.load_membership(group).await? {
            Some(membership) if membership.version < version => self.store.membership(group).await,
            loaded => Ok(loaded.map(|membership| Membership::clone(&membership))),
        }
    }
    }
}
