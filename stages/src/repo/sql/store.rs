//! A [`Store`](crate::repo::store::Store) over SQL: each call a transaction, bounded in time, its failure explained.
//!
//! **What a replica is asked for.** Only a page of a history, and only if the replica is shown to have
//! everything that the primary has of that conversation: the primary is asked for the conversation's
//! newest seq (one row by its key), the replica for the page and the newest seq it knows, and its page
//! counts if that is not older. Messages, edits and recalls raise the seq in the transaction that
//! changes the rows, so a page that passes is the primary's page. All other reads go to the primary:
//! they are rows by their key, as cheap as the proof would be, or what rights and deliveries depend on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::Sequenced;
use sqlx::Connection;

use super::dialect::{Dialect, TimeLeft, explain, settle};
use super::fault::Fault;
use super::pools::Pools;
use super::probe::Question;
use super::server::CallTimes;
use super::users::Created;
use crate::repo::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Group, GroupChange, HistoryPage, HistoryRange, Member,
    Membership, Message, NewGroup, NewToken, OutboxRow, RaisedMark, ReadMark, Rotation, SignIn, Standing, TokenHash,
    User, UserPatch,
};
use crate::repo::store::{Archive, Conversations, Groups, MessageSink, Outbox, Probe, StoreError, Users};

/// A [`Store`](crate::repo::store::Store) in a database of this kind.
#[derive(Debug)]
pub struct SqlStore<DB: Dialect> {
    name: String,
    pools: Pools<DB>,
    times: CallTimes,
    /// A call failed since the last probe.
    suspect: AtomicBool,
}

impl<DB: Dialect> SqlStore<DB> {
    /// A store over open connections; the name is how operators know the database.
    pub fn new(name: String, pools: Pools<DB>, times: CallTimes) -> Arc<Self> {
        Arc::new(Self { name, pools, times, suspect: AtomicBool::new(false) })
    }

    /// Closes all connections once calls under way are done.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    fn explain(&self, doing: &'static str, fault: Fault) -> StoreError {
        let error = explain::<DB>(&self.name, doing, fault);
        if matches!(error, StoreError::Unavailable { .. }) {
            self.suspect.store(true, Ordering::SeqCst);
        }
        error
    }
}

/// One transaction that writes. If it is dropped half-way, it is rolled back.
macro_rules! writing {
    ($self:ident, $doing:literal, $session:ident => $work:expr) => {{
        let run = async {
            let time = TimeLeft::of($self.times.write);
            let (mut connection, in_use) = time.bound(async { Ok($self.pools.writer.acquire().await?) }).await?;
            let outcome = time
                .bound(async {
                    let mut transaction = connection.begin_with(DB::BEGIN).await?;
                    let mut $session = DB::session(&mut transaction);
                    let done = $work.await?;
                    transaction.commit().await?;
                    Ok(done)
                })
                .await;
            settle(connection, in_use, &outcome);
            outcome
        };
        run.await.map_err(|fault: Fault| $self.explain($doing, fault))
    }};
}

/// Reads from the primary: each statement sees the newest commit.
macro_rules! reading {
    ($self:ident, $doing:literal, $session:ident => $work:expr) => {{
        let run = async {
            let time = TimeLeft::of($self.times.read);
            let (mut connection, in_use) = time.bound(async { Ok($self.pools.reader.acquire().await?) }).await?;
            let outcome = time
                .bound(async {
                    let mut $session = DB::session(&mut connection);
                    $work.await
                })
                .await;
            settle(connection, in_use, &outcome);
            outcome
        };
        run.await.map_err(|fault: Fault| $self.explain($doing, fault))
    }};
}

impl<DB: Dialect> SqlStore<DB> {
    /// A page of a history from a replica, if one has everything of the conversation.
    async fn history_from_replica(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<Option<HistoryPage>, StoreError> {
        let Some(replica) = self.pools.replica() else { return Ok(None) };
        let head = self.head(conversation).await?;
        let read = async {
            let time = TimeLeft::of(replica.time_max);
            let (mut connection, in_use) = time.bound(async { Ok(replica.connections.acquire().await?) }).await?;
            let page = async { DB::session(&mut connection).history(conversation, range, first, limit).await };
            let outcome = time.bound(page).await;
            settle(connection, in_use, &outcome);
            outcome
        };
        let (page, answer) = match read.await {
            Ok(page) => {
                replica.answered();
                if page.last_seq >= head { (Some(page), "current") } else { (None, "behind") }
            }
            Err(fault) => {
                replica.failed(&fault);
                (None, "failed")
            }
        };
        metrics::counter!("gochat_store_replica_reads_total", "answer" => answer).increment(1);
        Ok(page)
    }
}

#[async_trait]
impl<DB: Dialect> MessageSink for SqlStore<DB> {
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError> {
        writing!(self, "write a batch of messages", session => session.write_batch(batch))
    }
}

#[async_trait]
impl<DB: Dialect> Outbox for SqlStore<DB> {
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        reading!(self, "read the outbox", session => session.oldest_events(limit))
    }

    async fn outbox_published(&self, ids: &[i64]) -> Result<(), StoreError> {
        writing!(self, "mark group events as published", session => session.delete_events(ids))
    }
}

#[async_trait]
impl<DB: Dialect> Conversations for SqlStore<DB> {
    async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", session => session.messages(ids))
    }

    async fn message_at(&self, conversation: ConversationId, seq: Seq) -> Result<Option<Message>, StoreError> {
        reading!(self, "read a message", session => session.message_at(conversation, seq))
    }

    async fn history(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        first: Seq,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        if let Some(page) = self.history_from_replica(conversation, range, first, limit).await? {
            return Ok(page);
        }
        reading!(self, "read a history", session => session.history(conversation, range, first, limit))
    }

    async fn head(&self, conversation: ConversationId) -> Result<Seq, StoreError> {
        reading!(self, "read a conversation's newest seq", session => session.head(conversation))
    }

    async fn conversations(
        &self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ConversationView>, StoreError> {
        reading!(self, "list conversations", session => session.list_conversations(user, after, limit))
    }

    async fn heads(&self, user: UserId, since: i64, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError> {
        reading!(self, "list heads", session => session.heads(user, since, limit))
    }

    async fn standing(&self, conversation: ConversationId, user: UserId) -> Result<Option<Standing>, StoreError> {
        reading!(self, "judge a user's rights", session => session.standing(conversation, user))
    }

    async fn read_marks(&self, conversation: ConversationId) -> Result<Vec<ReadMark>, StoreError> {
        reading!(self, "read read marks", session => session.read_marks(conversation))
    }
}

#[async_trait]
impl<DB: Dialect> Users for SqlStore<DB> {
    async fn newest_id(&self, below: i64) -> Result<i64, StoreError> {
        reading!(self, "look for the newest id", session => session.newest_id(below))
    }

    async fn create_user(&self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError> {
        let taken = match writing!(self, "create a user", session => session.create_user(user, password_hash))? {
            Created::Yes => return Ok(()),
            Created::NameTaken => format!("the name {} is taken", user.username),
            Created::EmailTaken => format!("the email address {} is taken", user.email),
        };
        Err(Refusal::new(ErrorCode::UserExists, taken).into())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        reading!(self, "read a user", session => session.user(id))
    }

    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, StoreError> {
        reading!(self, "read a user", session => session.credentials(username))
    }

    async fn update_user(&self, id: UserId, patch: &UserPatch) -> Result<Option<User>, StoreError> {
        writing!(self, "update a user", session => async {
            session.patch_user(id, patch).await?;
            session.user(id).await
        })
    }

    async fn start_family(&self, user: UserId, family: i64, token: NewToken, now: i64) -> Result<(), StoreError> {
        writing!(self, "keep a refresh token", session => session.start_family(user, family, token, now))
    }

    async fn rotate_token(&self, used: TokenHash, next: NewToken, now: i64) -> Result<Rotation, StoreError> {
        writing!(self, "rotate a refresh token", session => session.rotate_token(used, next, now))
    }

    async fn revoke_family(&self, user: UserId, family: i64) -> Result<(), StoreError> {
        writing!(self, "end a sign-in", session => session.revoke_family(user, family))
    }

    async fn sign_in(&self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, StoreError> {
        reading!(self, "look at a sign-in", session => session.sign_in(user, family, now))
    }
}

#[async_trait]
impl<DB: Dialect> Groups for SqlStore<DB> {
    async fn create_group(&self, group: &NewGroup, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "create a group", session => session.create_group(group, act))
    }

    async fn change_group(&self, group: GroupId, change: &GroupChange, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "change a group", session => session.change_group(group, change, act))
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        reading!(self, "read a group", session => session.group(id))
    }

    async fn members(&self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", session => session.members(group, after, limit))
    }

    async fn members_among(&self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", session => session.members_among(group, users))
    }

    async fn membership(&self, group: GroupId) -> Result<Option<Membership>, StoreError> {
        reading!(self, "read a membership", session => session.membership(group))
    }
}

#[async_trait]
impl<DB: Dialect> Archive for SqlStore<DB> {
    async fn scan(&self, after: MessageId, limit: usize) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", session => session.scan(after, limit))
    }

    async fn newest(&self, limit: usize) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read the newest messages", session => session.newest(limit))
    }

    async fn log_id(&self) -> Result<Option<String>, StoreError> {
        reading!(self, "read which log it belongs to", session => session.log_id())
    }

    async fn set_log_id(&self, id: &str) -> Result<(), StoreError> {
        writing!(self, "note which log it belongs to", session => session.insert_log_id(id))
    }
}

#[async_trait]
impl<DB: Dialect> Probe for SqlStore<DB> {
    async fn probe(&self) -> Result<(), StoreError> {
        let suspect = self.suspect.swap(false, Ordering::SeqCst);
        let question = if suspect { Question::Commits } else { Question::TakesChanges };
        self.pools.writer.probe(question).await.map_err(|fault| self.explain("take a change", fault))
    }

    async fn probe_replicas(&self) -> Vec<StoreError> {
        let asked = self.pools.replicas().iter().map(|replica| async {
            let answer = replica.connections.probe(Question::Ping).await;
            answer.err().map(|fault| explain::<DB>(&replica.name, "answer", fault))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}
