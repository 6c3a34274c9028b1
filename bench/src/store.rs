//! A store by itself: batches written by the persist stage, in turns with the same rows written bare into
//! the same tables; then the newest messages read, and single messages written.

use std::collections::HashMap;
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
use tokio::time::Instant;

use crate::bare_sql::{BareSql, Rows};
use crate::latency::Latency;
use crate::stage::{Batches, measure};
use crate::usage::{Stopwatch, Took};
use crate::workload::Workload;

/// Both sides take so many turns, so that what disturbs the machine meets both of them.
const TURNS: u64 = 20;
/// Ids of the bare side's users and groups are so much larger: no row of one side is one of the other.
const ELSEWHERE: i64 = 1 << 40;
const START_MS: i64 = 1_800_000_000_000;

/// Why a measurement stopped.
#[derive(Debug, thiserror::Error)]
pub enum StoreBenchError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stage's.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The database's, asked without the store.
    #[error("the database refused what was written bare: {0}")]
    Sql(#[from] sqlx::Error),
    /// What was read is not what was written.
    #[error("{conversation} has {found} of its newest {expected} messages")]
    Missing {
        /// The conversation.
        conversation: ConversationId,
        /// Messages read.
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
    /// Bare.
    pub bare: Took,
    /// By the store.
    pub store: Took,
}

/// What it takes to write one message after the other.
#[derive(Debug, Default)]
pub struct Singles {
    /// Bare.
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
        let mut stage = Persist::new(Arc::clone(&self.store));
        let mut sides = Sides::default();
        for turn in 0..TURNS {
            let share = messages * (turn + 1) / TURNS - messages * turn / TURNS;
            for side in if turn % 2 == 0 { [Side::Bare, Side::Store] } else { [Side::Store, Side::Bare] } {
                match side {
                    Side::Bare => sides.bare += self.write_bare(&mut theirs, share, batch).await?,
                    Side::Store => {
                        let numbered = ours.by_ref().map(|message| self.numbers.give(message));
                        let batches = Batches::new(numbered, share, batch, 1, START_MS, messages);
                        sides.store += measure(&mut stage, batches).await?.took;
                    }
                }
            }
            eprint!("\r{} of {messages} messages a side …", messages * (turn + 1) / TURNS);
        }
        eprintln!();
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

    /// Each side reads so many pages, one after the other: the newest messages of any conversation.
    ///
    /// # Errors
    /// [`StoreBenchError::Missing`] when a page is not what was written.
    pub async fn read(&mut self, pages: u64, page_messages: usize) -> Result<Sides, StoreBenchError> {
        let mut sides = Sides::default();
        let mut random = StdRng::seed_from_u64(self.workload.seed);
        let limit = i64::try_from(page_messages).unwrap_or(i64::MAX);
        for turn in 0..TURNS {
            let share = pages * (turn + 1) / TURNS - pages * turn / TURNS;
            let numbers: Vec<_> = (0..share).map(|_| random.random_range(0..self.workload.conversations)).collect();
            let watch = Stopwatch::start();
            for &number in &numbers {
                let conversation = elsewhere_of(self.workload.conversation(number));
                let found = self.bare.newest(&conversation.to_string(), limit).await?.len();
                self.expect(conversation, found, page_messages)?;
            }
            sides.bare += watch.took();
            let watch = Stopwatch::start();
            for &number in &numbers {
                let conversation = self.workload.conversation(number);
                let page = self.store.history(conversation, HistoryRange::Newest, Seq(1), page_messages).await?;
                self.expect(conversation, page.messages.len(), page_messages)?;
            }
            sides.store += watch.took();
        }
        Ok(sides)
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
