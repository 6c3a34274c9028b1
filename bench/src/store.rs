//! A store by itself: batches written by the persist stage, in turns with the same rows written bare into
//! the same tables; then the newest messages read, and single messages written.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::ids::{ConversationId, GroupId, MessageId, Seq, UserId};
use schemas::records::{Sequenced, Upstream};
use stages::persist::Persist;
use stages::repo::digest::Digest;
use stages::repo::model::HistoryRange;
use stages::repo::store::{Store, StoreError};
use stages::stage::StageError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bare_sql::{BareSql, Rows};
use crate::latency::Latency;
use crate::stage::{Batches, measure};
use crate::usage::{Stopwatch, Took};
use crate::workload::Workload;

/// Both sides take so many turns, so that what disturbs the machine meets both of them.
const TURNS: u64 = 20;
/// So many read at once where that is measured, each one page after the other.
pub const READERS: usize = 8;
/// Ids of the bare side's users and groups are so much larger: no row of one side is one of the other.
const ELSEWHERE: i64 = 1 << 40;
const START_MS: i64 = 1_800_000_000_000;

/// Why a measurement stopped.
#[derive(Debug, thiserror::Error)]
pub enum StoreBenchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The database's, asked without the store.
    #[error("the database refused what was written bare: {0}")]
    Sql(#[from] sqlx::Error),
    /// What was read is not what was written.
    #[error("{conversation} has {found} of its newest {expected} messages")]
    Missing {
        conversation: ConversationId,
        found: usize,
        /// Messages written, the page at most.
        expected: usize,
    },
}

/// A store, and the way around it.
pub struct Contest {
    store: Arc<dyn Store>,
    bare: Box<dyn BareSql>,
    workload: Workload,
    numbers: Numbers,
}

/// What the two sides took for the same work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sides {
    pub bare: Took,
    /// By the store.
    pub store: Took,
}

/// What it takes to read the same pages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reads {
    /// Contents only, bare, one page after the other.
    pub bare: Took,
    /// By the store, one page after the other.
    pub store: Took,
    /// By the store, [`READERS`] at once.
    pub at_once: Took,
}

/// What it takes to write one message after the other.
#[derive(Debug, Default)]
pub struct Singles {
    pub bare: Latency,
    /// By the store.
    pub store: Latency,
}

impl Contest {
    /// Between a store and a connection to the same database.
    pub fn new(store: Arc<dyn Store>, bare: Box<dyn BareSql>, workload: Workload) -> Self {
        Self { store, bare, workload, numbers: Numbers::default() }
    }

    /// Each side writes so many messages, so many a batch. Making them is not counted.
    ///
    /// # Errors
    /// What made one of them stop.
    pub async fn write(&mut self, messages: u64, batch: usize) -> Result<Sides, StoreBenchError> {
        let (mut ours, mut theirs) = (self.workload.messages(), self.workload.messages().map(elsewhere));
        let mut sides = Sides::default();
        for turn in 0..TURNS {
            let share = messages * (turn + 1) / TURNS - messages * turn / TURNS;
            for side in if turn % 2 == 0 { [Side::Bare, Side::Store] } else { [Side::Store, Side::Bare] } {
                match side {
                    Side::Bare => sides.bare += self.write_bare(&mut theirs, share, batch).await?,
                    Side::Store => {
                        let numbered = ours.by_ref().map(|message| self.numbers.give(message));
                        let batches = Batches::new(numbered, share, batch, 1, START_MS, messages);
                        sides.store += measure(Persist::new(self.store.clone()), batches).await?.took;
                    }
                }
            }
            // Whether somebody reads it is no matter of the measurement.
            let done = messages * (turn + 1) / TURNS;
            let _ = write!(std::io::stderr(), "\r{done} of {messages} messages a side …");
        }
        let _ = writeln!(std::io::stderr());
        Ok(sides)
    }

    async fn write_bare(
        &mut self,
        messages: &mut impl Iterator<Item = Upstream>,
        share: u64,
        batch: usize,
    ) -> Result<Took, StoreBenchError> {
        let mut took = Took::default();
        let mut left = usize::try_from(share).unwrap_or(usize::MAX);
        while left > 0 {
            let numbered = messages.take(batch.min(left)).map(|message| self.numbers.give(message));
            let records: Vec<_> = numbered.collect();
            left -= records.len();
            let records: Vec<_> = records.iter().collect();
            let digest = Digest::of(&records)?;
            let rows = Rows::of(&digest);
            let watch = Stopwatch::start();
            self.bare.write(&rows).await?;
            took += watch.took();
        }
        Ok(took)
    }

    /// Reads so many pages in each way: the newest messages of any conversation.
    ///
    /// # Errors
    /// [`StoreBenchError::Missing`] when a page is not what was written.
    pub async fn read(&mut self, pages: u64, page_messages: usize) -> Result<Reads, StoreBenchError> {
        let mut reads = Reads::default();
        let mut random = StdRng::seed_from_u64(self.workload.seed);
        let limit = i64::try_from(page_messages).unwrap_or(i64::MAX);
        for turn in 0..TURNS {
            let share = pages * (turn + 1) / TURNS - pages * turn / TURNS;
            let numbers = (0..share).map(|_| random.random_range(0..self.workload.conversations));
            let conversations: Vec<_> = numbers.map(|number| self.workload.conversation(number)).collect();
            let watch = Stopwatch::start();
            for &conversation in &conversations {
                let conversation = elsewhere_of(conversation);
                let found = self.bare.newest(&conversation.to_string(), limit).await?.len();
                self.expect(conversation, found, page_messages)?;
            }
            reads.bare += watch.took();
            let watch = Stopwatch::start();
            let pages = pages_of(Arc::clone(&self.store), conversations.clone(), page_messages).await?;
            reads.store += watch.took();
            self.expect_all(pages, page_messages)?;
            let watch = Stopwatch::start();
            let mut readers = JoinSet::new();
            for share in conversations.chunks(conversations.len().div_ceil(READERS).max(1)) {
                readers.spawn(pages_of(Arc::clone(&self.store), share.to_vec(), page_messages));
            }
            let pages = readers.join_all().await;
            reads.at_once += watch.took();
            for pages in pages {
                self.expect_all(pages?, page_messages)?;
            }
        }
        Ok(reads)
    }

    fn expect_all(&self, pages: Vec<(ConversationId, usize)>, page: usize) -> Result<(), StoreBenchError> {
        pages.into_iter().try_for_each(|(conversation, found)| self.expect(conversation, found, page))
    }

    fn expect(&self, conversation: ConversationId, found: usize, page: usize) -> Result<(), StoreBenchError> {
        let expected = usize::try_from(self.numbers.last(conversation)).unwrap_or(usize::MAX).min(page);
        if found == expected { Ok(()) } else { Err(StoreBenchError::Missing { conversation, found, expected }) }
    }

    /// Each side writes so many messages in turn, each in a transaction of its own.
    ///
    /// # Errors
    /// What made one of them stop.
    pub async fn write_singly(&mut self, messages: u64) -> Result<Singles, StoreBenchError> {
        let mut singles = Singles::default();
        let workload = Workload { seed: self.workload.seed + 1, ..self.workload.clone() };
        for message in workload.messages().take(usize::try_from(messages).unwrap_or(usize::MAX)) {
            let record = self.numbers.give(message.clone());
            let started = Instant::now();
            self.store.write_batch(&[&record]).await?;
            singles.store.record(started.elapsed());

            let record = self.numbers.give(elsewhere(message));
            let records = [&record];
            let digest = Digest::of(&records)?;
            let rows = Rows::of(&digest);
            let started = Instant::now();
            self.bare.write(&rows).await?;
            singles.bare.record(started.elapsed());
        }
        Ok(singles)
    }
}

/// Reads a page of each, one after the other: how many messages it has.
async fn pages_of(
    store: Arc<dyn Store>,
    conversations: Vec<ConversationId>,
    page: usize,
) -> Result<Vec<(ConversationId, usize)>, StoreBenchError> {
    let mut pages = Vec::with_capacity(conversations.len());
    for conversation in conversations {
        let found = store.history(conversation, HistoryRange::Newest, Seq(1), page).await?;
        pages.push((conversation, found.messages.len()));
    }
    Ok(pages)
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Bare,
    Store,
}

/// Ids and seqs, as id-assign gives them. Ids rise over both sides, as they rise in an installation.
#[derive(Debug, Default)]
struct Numbers {
    id: i64,
    seqs: HashMap<ConversationId, i64>,
}

impl Numbers {
    fn give(&mut self, message: Upstream) -> Sequenced {
        self.id += 1;
        let seq = self.seqs.entry(message.conversation_id).or_default();
        *seq += 1;
        message.identified(MessageId(self.id), Seq(*seq), *seq, START_MS + self.id)
    }

    fn last(&self, conversation: ConversationId) -> i64 {
        self.seqs.get(&conversation).copied().unwrap_or(0)
    }
}

fn elsewhere(message: Upstream) -> Upstream {
    Upstream {
        conversation_id: elsewhere_of(message.conversation_id),
        sender_id: UserId(message.sender_id.0 + ELSEWHERE),
        ..message
    }
}

fn elsewhere_of(conversation: ConversationId) -> ConversationId {
    let away = |user: UserId| UserId(user.0 + ELSEWHERE);
    match conversation {
        ConversationId::Single { low, high } => ConversationId::single(away(low), away(high)),
        ConversationId::Group(group) => ConversationId::Group(GroupId(group.0 + ELSEWHERE)),
        ConversationId::World => ConversationId::World,
    }
}
