//! A [`Store`] over SQL: each call a transaction, bounded in time, its failure explained.
//!
//! **What a replica is asked for.** Only a page of a history, and only if the replica is shown to have
//! everything that the primary has of that conversation: the primary is asked for the conversation's
//! newest seq (one row by its key), the replica for the page and the newest seq it knows, and its page
//! counts if that is not older. Messages, edits and recalls raise the seq in the transaction that
//! changes the rows, so a page that passes is the primary's page. All other reads go to the primary:
//! they are rows by their key, as cheap as the proof would be, or what rights and deliveries depend on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use schemas::error::{ErrorCode, Refusal};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::Sequenced;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database};
use tokio::time::timeout;

use super::pools::{InUse, Pools};
use super::probe::Question;
use super::tables::{Conversations, Groups, LogIdentity, Members, Messages, Outbox, Tables, Tokens, Users};
use super::users::{self, Created};
use super::{Fault, batch, conversations, groups, messages, tokens};
use crate::repo::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Group, GroupChange, HistoryPage, HistoryRange, Member,
    Membership, Message, NewGroup, NewToken, OutboxRow, RaisedMark, ReadMark, Rotation, SignIn, Standing, TokenHash,
    User, UserPatch,
};
use crate::repo::store::{Store, StoreError};

/// A database: how it is told to begin to write, and what its errors mean.
pub trait Dialect: Database<Connection: Tables> + std::fmt::Debug {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// What to do about an error.
    fn outlook(error: &sqlx::Error) -> Outlook;
}

/// What can be expected after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The same may succeed later.
    Passes,
    /// The same may succeed later, on another connection: this one leads to a server that has become
    /// the wrong one.
    PassesElsewhere,
    /// It has to be looked at.
    Stays,
}

/// A [`Store`] in a database of this kind.
#[derive(Debug)]
pub struct SqlStore<DB: Dialect> {
    name: String,
    pools: Pools<DB>,
    call_time_max: Duration,
    /// A call failed since the last probe.
    suspect: AtomicBool,
}

impl<DB: Dialect> SqlStore<DB> {
    /// A store over open connections; the name is how operators know the database.
    pub(in crate::repo) fn new(name: String, pools: Pools<DB>, call_time_max: Duration) -> Arc<Self> {
        Arc::new(Self { name, pools, call_time_max, suspect: AtomicBool::new(false) })
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

/// What a failure means to whoever called.
pub(in crate::repo) fn explain<DB: Dialect>(store: &str, doing: &'static str, fault: Fault) -> StoreError {
    let store = store.to_owned();
    match fault {
        Fault::Sql(error) => match DB::outlook(&error) {
            Outlook::Passes | Outlook::PassesElsewhere => {
                StoreError::Unavailable { store, doing, source: error.into() }
            }
            Outlook::Stays => StoreError::Failed { store, doing, source: error.into() },
        },
        Fault::Slow(time) => {
            StoreError::Unavailable { store, doing, source: format!("it gave no answer within {time:?}").into() }
        }
        Fault::Refused(refusal) => StoreError::Refused(refusal),
        Fault::Unreadable(what) => StoreError::Unreadable { store, what },
        Fault::Store(error) => error,
    }
}

pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, work).await.unwrap_or(Err(Fault::Slow(limit)))
}

/// Gives a connection back, unless it is of no use any more.
pub(super) fn settle<DB: Dialect, T>(connection: PoolConnection<DB>, in_use: InUse, outcome: &Result<T, Fault>) {
    // First: whoever gets it next is not counted beside this one.
    drop(in_use);
    let spoilt = match outcome {
        Err(Fault::Slow(_)) => true,
        Err(Fault::Sql(error)) => DB::outlook(error) == Outlook::PassesElsewhere,
        Ok(_) | Err(Fault::Refused(_) | Fault::Unreadable(_) | Fault::Store(_)) => false,
    };
    if spoilt {
        drop(connection.detach());
    }
}

/// One transaction where is written. Dropped half-way it is rolled back.
macro_rules! writing {
    ($self:ident, $doing:literal, $tables:ident => $work:expr) => {{
        let run = async {
            let (mut connection, in_use) = $self.pools.writer.acquire().await?;
            let outcome = within($self.call_time_max, async {
                let mut transaction = connection.begin_with(DB::BEGIN).await?;
                let $tables: &mut DB::Connection = &mut transaction;
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

/// Statements where the newest commit is seen by each.
macro_rules! reading {
    ($self:ident, $doing:literal, $tables:ident => $work:expr) => {{
        let run = async {
            let (mut connection, in_use) = $self.pools.reader.acquire().await?;
            let outcome = within($self.call_time_max, async {
                let $tables: &mut DB::Connection = &mut connection;
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
            let acquired = within(replica.time_max, async { Ok(replica.connections.acquire().await?) });
            let (mut connection, in_use) = acquired.await?;
            let tables: &mut DB::Connection = &mut connection;
            let page = messages::history(tables, conversation, range, first, limit);
            let outcome = within(replica.time_max, page).await;
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
impl<DB: Dialect> Store for SqlStore<DB> {
    async fn write_batch(&self, batch: &[&Sequenced]) -> Result<Vec<RaisedMark>, StoreError> {
        writing!(self, "write a batch of messages", tables => batch::write(tables, batch))
    }

    async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", tables => messages::by_ids(tables, ids))
    }

    async fn message_at(&self, conversation: ConversationId, seq: Seq) -> Result<Option<Message>, StoreError> {
        reading!(self, "read a message", tables => messages::at(tables, conversation, seq))
    }

    async fn scan(&self, after: MessageId, limit: usize) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read messages", tables => tables.scan(after, limit))
    }

    async fn newest(&self, limit: usize) -> Result<Vec<Message>, StoreError> {
        reading!(self, "read the newest messages", tables => tables.newest(limit))
    }

    async fn log_id(&self) -> Result<Option<String>, StoreError> {
        reading!(self, "read which log it belongs to", tables => tables.log_id())
    }

    async fn set_log_id(&self, id: &str) -> Result<(), StoreError> {
        writing!(self, "note which log it belongs to", tables => tables.insert_log_id(id))
    }

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
        reading!(self, "read a history", tables => messages::history(tables, conversation, range, first, limit))
    }

    async fn head(&self, conversation: ConversationId) -> Result<Seq, StoreError> {
        reading!(self, "read a conversation's newest seq", tables => tables.head(conversation))
    }

    async fn conversations(
        &self,
        user: UserId,
        after: Option<ConversationsAfter>,
        limit: usize,
    ) -> Result<Vec<ConversationView>, StoreError> {
        reading!(self, "list conversations", tables => conversations::list(tables, user, after, limit))
    }

    async fn heads(&self, user: UserId, since: i64, limit: usize) -> Result<Vec<(ConversationId, Seq)>, StoreError> {
        reading!(self, "list heads", tables => conversations::heads(tables, user, since, limit))
    }

    async fn standing(&self, conversation: ConversationId, user: UserId) -> Result<Option<Standing>, StoreError> {
        reading!(self, "judge a user's rights", tables => conversations::standing(tables, conversation, user))
    }

    async fn read_marks(&self, conversation: ConversationId) -> Result<Vec<ReadMark>, StoreError> {
        reading!(self, "read read marks", tables => tables.read_marks(conversation))
    }

    async fn newest_id(&self, below: i64) -> Result<i64, StoreError> {
        reading!(self, "look for the newest id", tables => tables.newest_id(below))
    }

    async fn create_user(&self, user: &User, password_hash: Option<&str>) -> Result<(), StoreError> {
        let taken = match writing!(self, "create a user", tables => users::create(tables, user, password_hash))? {
            Created::Yes => return Ok(()),
            Created::NameTaken => format!("the name {} is taken", user.username),
            Created::EmailTaken => format!("the email address {} is taken", user.email),
        };
        Err(Refusal::new(ErrorCode::UserExists, taken).into())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        reading!(self, "read a user", tables => tables.user(id))
    }

    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, StoreError> {
        reading!(self, "read a user", tables => tables.credentials(username))
    }

    async fn update_user(&self, id: UserId, patch: &UserPatch) -> Result<Option<User>, StoreError> {
        writing!(self, "update a user", tables => async {
            tables.patch_user(id, patch).await?;
            tables.user(id).await
        })
    }

    async fn start_family(&self, user: UserId, family: i64, token: NewToken, now: i64) -> Result<(), StoreError> {
        writing!(self, "keep a refresh token", tables => tokens::start(tables, user, family, token, now))
    }

    async fn rotate_token(&self, used: TokenHash, next: NewToken, now: i64) -> Result<Rotation, StoreError> {
        writing!(self, "rotate a refresh token", tables => tokens::rotate(tables, used, next, now))
    }

    async fn revoke_family(&self, user: UserId, family: i64) -> Result<(), StoreError> {
        writing!(self, "end a sign-in", tables => tokens::revoke(tables, user, family))
    }

    async fn sign_in(&self, user: UserId, family: i64, now: i64) -> Result<Option<SignIn>, StoreError> {
        reading!(self, "look at a sign-in", tables => tables.sign_in(user, family, now))
    }

    async fn create_group(&self, group: &NewGroup, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "create a group", tables => groups::create(tables, group, act))
    }

    async fn change_group(&self, group: GroupId, change: &GroupChange, act: &Act) -> Result<Group, StoreError> {
        writing!(self, "change a group", tables => groups::change(tables, group, change, act))
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        reading!(self, "read a group", tables => tables.group(id))
    }

    async fn members(&self, group: GroupId, after: UserId, limit: usize) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", tables => tables.members(group, after, limit))
    }

    async fn members_among(&self, group: GroupId, users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        reading!(self, "list members", tables => tables.members_among(group, users))
    }

    async fn membership(&self, group: GroupId) -> Result<Option<Membership>, StoreError> {
        reading!(self, "read a membership", tables => tables.membership(group))
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        reading!(self, "read the outbox", tables => tables.oldest_events(limit))
    }

    async fn outbox_published(&self, ids: &[i64]) -> Result<(), StoreError> {
        writing!(self, "mark group events as published", tables => tables.delete_events(ids))
    }
}
