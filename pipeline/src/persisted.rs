//! Whether the store has what persist has passed: looked at when a process begins to persist.
//!
//! A store that was removed, cut short or restored from an older copy would be gone on with as if nothing were
//! missing, and what it lost never be written again: persist goes on from its position in the log. So the newest
//! message below that position is looked for, in each partition. What is missing further back only `gochat check`
//! finds, which reads everything.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use schemas::avro::Record;
use schemas::ids::{ConversationId, MessageId, Seq};
use schemas::records::Sequenced;
use stages::repo::store::{self, Store, StoreError};
use tokio::time::{Instant, sleep};
use topics::catalogue::SEQUENCED;
use topics::log::{self, Log, LogError, PartitionLag, StartAt};
use topics::scan::Scan;

use crate::config::Config;

/// The newest message is looked for among so many offsets below the position. The others may be records that are not
/// stored, or marks of transactions.
const LOOK_BACK_OFFSETS: u64 = 100;
/// Partitions looked at at once.
const PARTITIONS_AT_ONCE: usize = 8;
/// A log or store that does not answer is asked again after this time.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// Why persist must not begin.
#[derive(Debug, thiserror::Error)]
pub enum PersistedError {
    /// The log's.
    #[error("what persist has passed can't be read from {log}")]
    Log {
        /// Which log.
        log: String,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It lacks what it had.
    #[error(
        "{store} does not have message {message} ({conversation} seq {seq}), which was stored before: it was removed, cut \
         short or restored from an older copy, or is another store. Users and groups are in a backup only; `gochat \
         rebuild store` writes messages again from the log. Then start again"
    )]
    Lacks {
        /// Which store.
        store: String,
        /// The message.
        message: MessageId,
        /// Its conversation.
        conversation: ConversationId,
        /// Its seq.
        seq: Seq,
    },
}

/// Looks for the newest message of each partition in the store that is configured, and opened. Where log or store do not
/// answer for `repo.store.wait_seconds`, that is logged, and nothing is known: persist waits for both by itself.
///
/// # Errors
/// [`PersistedError::Lacks`], and what a person has to look at.
pub async fn check(log: &dyn Log, store: &dyn Store, config: &Config) -> Result<(), PersistedError> {
    let deadline = Instant::now() + config.repo.store.wait();
    loop {
        let Err(error) = is_there(log, store, config).await else { return Ok(()) };
        let passes = match &error {
            PersistedError::Log { source, .. } => source.class() == log::Class::Retry,
            PersistedError::Store(error) => error.class() == store::Class::Retry,
            PersistedError::Lacks { .. } => false,
        };
        if !passes {
            return Err(error);
        }
        if Instant::now() + NEXT_TRY >= deadline {
            tracing::warn!(%error, "whether the store has what was stored could not be looked at");
            return Ok(());
        }
        sleep(NEXT_TRY).await;
    }
}

async fn is_there(log: &dyn Log, store: &dyn Store, config: &Config) -> Result<(), PersistedError> {
    let log_error = |source| PersistedError::Log { log: crate::log::name(config), source };
    let positions = log.lag("persist", &SEQUENCED.spec).await.map_err(log_error)?;
    let looked_at = stream::iter(positions).map(|position| async move {
        let Some(newest) = newest(log, &position).await.map_err(log_error)? else { return Ok(()) };
        let (conversation, seq, message) = (newest.conversation_id, newest.seq_id, newest.message_id);
        match store.message_at(conversation, seq).await? {
            Some(found) if found.message_id == message => Ok(()),
            Some(_) | None => {
                Err(PersistedError::Lacks { store: crate::store::name(config), message, conversation, seq })
            }
        }
    });
    looked_at.buffer_unordered(PARTITIONS_AT_ONCE).try_collect().await
}

/// The newest message that persist has passed in a partition, as far as it is still kept.
async fn newest(log: &dyn Log, position: &PartitionLag) -> Result<Option<Sequenced>, LogError> {
    let topic = &SEQUENCED.spec;
    let Some(passed) = position.committed else { return Ok(None) };
    let from = log.bounds(topic, position.partition).await?.start.max(passed.saturating_sub(LOOK_BACK_OFFSETS));
    let mut scan = Scan::open(log, topic, position.partition, StartAt::Offset(from), passed).await?;
    let mut newest = None;
    while let Some(batch) = scan.next().await? {
        let messages = batch.records.iter().filter_map(|record| Sequenced::decode(&record.value).ok());
        newest = messages.filter(|message| message.kind.rules().stored && message.seq_id > Seq(0)).last().or(newest);
    }
    Ok(newest)
}
