//! A [`Store`](crate::repo::store::Store) over SQL: each call a transaction, bounded in time, its failure explained.
//!
//! **What a replica is asked for.** Only a page of a history, and only if the replica is shown to have
//! everything that the primary has of that conversation: the primary is asked for the conversation's
//! first and newest seq (rows by their key), the replica for the page and the seqs it knows, and its page
//! counts if none is older. Messages, edits and recalls raise the newest seq in the transaction that
//! changes the rows, removals the first, so a page that passes is the primary's page. All other reads go to the primary:
//! they are rows by their key, as cheap as the proof would be, or what rights and deliveries depend on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::Sequenced;
use sqlx::Connection;

use super::dialect::{Dialect, TimeLeft, explain, settle};
use super::fault::Fault;
use super::pools::Pools;
use super::probe::Question;
use super::server::CallTimes;
use crate::repo::model::{
    Act, ConversationView, ConversationsAfter, Credentials, Extent, Group, GroupChange, HistoryPage, HistoryRange,
    Member, Membership, Message, NewGroup, NewToken, OpenSignIn, OutboxRow, RaisedMark, ReadMark, Rotation, SignIn,
    Standing, TokenHash, User, UserPatch,
};
use crate::repo::store::{
    Archive, Conversations, Groups, MessageSink, Outbox, Probe, Retention, StoreError, Users, groups_calls, users_calls,
};

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

    fn explain(&self, doing: &'static str, fault: Fault) -> StoreError {
        let error = explain::<DB>(&self.name, doing, fault);
        if matches!(error, StoreError::Unavailable { .. }) {
            self.suspect.store(true, Ordering::SeqCst);
        }
        error
    }
}

/// Does some work on a connection of a pool, within a time limit that includes the wait for the connection.
macro_rules! on_connection {
    ($connections:expr, $time_max:expr, $connection:ident => $work:block) => {
        async {
            let time = TimeLeft::of($time_max);
            let (mut $connection, in_use) = time.bound(async { Ok($connections.acquire().await?) }).await?;
            let outcome = time.bound(async $work).await;
            settle($connection, in_use, &outcome);
            outcome
        }
    };
}

/// One transaction that writes. If it is dropped half-way, it is rolled back.
macro_rules! writing {
    ($self:ident, $doing:literal, $session:ident => $work:expr) => {{
        let run = on_connection!($self.pools.writer, $self.times.write, connection => {
            let mut transaction = connection.begin_with(DB::BEGIN).await?;
            let mut $session = DB::session(&mut transaction);
            let done = $work.await?;
            transaction.commit().await?;
            Ok(done)
        });
        run.await.map_err(|fault: Fault| $self.explain($doing, fault))
    }};
}

/// Reads from the primary: each statement sees the newest commit.
macro_rules! reading {
    ($self:ident, $doing:literal, $session:ident => $work:expr) => {{
        let run = on_connection!($self.pools.reader, $self.times.read, connection => {
            let mut $session = DB::session(&mut connection);
            $work.await
        });
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
        let extent = self.extent(conversation).await?;
        let read = on_connection!(replica.connections, replica.time_max, connection => {
            DB::session(&mut connection).history(conversation, range, first, limit).await
        });
        let (page, answer) = match read.await {
            Ok(page) => {
                replica.answered();
                let is_current = page.first_seq >= extent.first && page.last_seq >= extent.last;
                if is_current { (Some(page), "current") } else { (None, "behind") }
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

/// Implements a trait of the store: each method is the one of [`Session`](super::session::Session) of the same name, in
/// a transaction, with what it does in words.
macro_rules! sql_store {
    (
        $trait:ident
        reads { $($read:ident($($r:ident: $rt:ty),*) -> $rout:ty = $reading:literal;)* }
        writes { $($write:ident($($w:ident: $wt:ty),*) -> $wout:ty = $writing:literal;)* }
        $($own:tt)*
    ) => {
        #[async_trait]
        impl<DB: Dialect> $trait for SqlStore<DB> {
            $(async fn $read(&self, $($r: $rt),*) -> Result<$rout, StoreError> {
                reading!(self, $reading, session => session.$read($($r),*))
            })*
            $(async fn $write(&self, $($w: $wt),*) -> Result<$wout, StoreError> {
                writing!(self, $writing, session => session.$write($($w),*))
            })*
            $($own)*
        }
    };
}

sql_store! {
    MessageSink
    reads {}
    writes {
        write_batch(batch: &[&Sequenced]) -> Vec<RaisedMark> = "write a batch of messages";
    }
}

sql_store! {
    Outbox
    reads {
        outbox(limit: usize) -> Vec<OutboxRow> = "read the outbox";
    }
    writes {
        outbox_published(ids: &[i64]) -> () = "mark group events as published";
    }
}

sql_store! {
    Conversations
    reads {
        messages(ids: &[MessageId]) -> Vec<Message> = "read messages";
        message_at(conversation: ConversationId, seq: Seq) -> Option<Message> = "read a message";
        extent(conversation: ConversationId) -> Extent = "read the extent of a conversation";
        conversations(user: UserId, after: Option<ConversationsAfter>, limit: usize) -> Vec<ConversationView>
            = "list conversations";
        heads(user: UserId, since: i64, limit: usize) -> Vec<(ConversationId, Seq)> = "list heads";
        standing(conversation: ConversationId, user: UserId) -> Option<Standing> = "judge a user's rights";
        read_marks(conversation: ConversationId) -> Vec<ReadMark> = "read read marks";
    }
    writes {}
    /// From a replica, if one is shown to be current.
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
}

users_calls!(sql_store);

groups_calls!(sql_store);

sql_store! {
    Archive
    reads {
        scan(after: MessageId, limit: usize) -> Vec<Message> = "read messages";
        newest(limit: usize) -> Vec<Message> = "read the newest messages";
        log_id() -> Option<String> = "read which log it belongs to";
    }
    writes {
        set_log_id(id: &str) -> () = "note which log it belongs to";
    }
    async fn close(&self) {
        self.pools.close().await;
    }
}

sql_store! {
    Retention
    reads {
        oldest(below: MessageId, limit: usize) -> Vec<(ConversationId, Seq)> = "look for old messages";
        extents(after: Option<ConversationId>, limit: usize) -> Vec<(ConversationId, Extent)>
            = "read the extents of conversations";
    }
    writes {
        lease_retention(holder: i64, now: i64, until: i64) -> bool = "take the lease of its retention";
        retire(places: &[(ConversationId, Seq)]) -> u64 = "remove old messages";
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
