//! The outbox relay: group events from the database to `upstream-messages`, in order, each once.
//!
//! A group changes in SQL, and every cache hears of it through the chain. The outbox row is written in the
//! transaction of the change, and deleted once its event is durable in the log. After a start, or a failed
//! append or delete, it is unknown whether an event was published: the relay then searches the topic first,
//! since dedupe recognises a second copy only within its window.
//!
//! Each repo process runs a relay, without a lock: two relays that publish the same row do so within
//! moments, and dedupe drops the second copy. Each publishes in the order of the outbox, so the first
//! copies are in that order too.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::avro::{AvroError, Record};
use schemas::causes::causes;
use schemas::ids::ConversationId;
use schemas::records::Upstream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{Key, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::{Headers, HopTimes};
use topics::log::{Class as LogClass, Log, LogError, StartAt};
use topics::partition::partition_of;

use super::model::OutboxRow;
use super::store::{Class, Outbox, StoreError};

/// Events put on the topic at once.
const BATCH_EVENTS_MAX: usize = 500;
/// The outbox is polled at least this often: another process may have written to it.
const FALLBACK_TICK: Duration = Duration::from_secs(5);
/// A search starts this long before the row's time by the log's clock: the log may have been idle, and
/// brokers' clocks differ.
const CLOCK_SKEW_MS: i64 = 60_000;
/// How long a search waits for the next records before it fails and is retried.
const SEARCH_WAIT: Duration = Duration::from_secs(10);

/// Why the outbox relay stopped.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox could not be read or marked")]
    Store(#[from] StoreError),
    #[error("group events could not be put on upstream-messages")]
    Log(#[from] LogError),
    /// An event that is no record.
    #[error("a group event could not be encoded")]
    Encode(#[from] AvroError),
    #[error("upstream-messages partition {partition} could not be read up to its end in time; it is retried")]
    SearchTimedOut { partition: u32 },
}

impl OutboxError {
    /// Whether the same may succeed later.
    fn passes(&self) -> bool {
        match self {
            Self::Store(error) => error.class() == Class::Retry,
            Self::Log(error) => match error.class() {
                LogClass::Retry | LogClass::Abort => true,
                LogClass::Rebuild | LogClass::Fatal => false,
            },
            Self::SearchTimedOut { .. } => true,
            Self::Encode(_) => false,
        }
    }
}

/// What is known of the rows in the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// None of them is in the topic.
    Unpublished,
    /// Some rows may be in the topic already.
    Unknown,
}

/// Moves group events to the chain until `shutdown`. `wake` is notified after each change.
///
/// # Errors
/// [`OutboxError`], when a retry would fail too.
pub async fn relay(
    store: Arc<dyn Outbox>,
    log: Arc<dyn Log>,
    clock: Clock,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<(), OutboxError> {
    let mut knowledge = Knowledge::Unknown;
    while !shutdown.is_cancelled() {
        match drain(&*store, &*log, &clock, &mut knowledge, &shutdown).await {
            Ok(()) => {}
            Err(error) if error.passes() => {
                // Health checks report that the store or the log is away.
                tracing::debug!(
                    error = causes(&error),
                    "group events wait in the outbox; tried again within {FALLBACK_TICK:?}"
                );
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            // Either way the outbox is read again.
            _ = tokio::time::timeout(FALLBACK_TICK, wake.notified()) => {}
        }
    }
    Ok(())
}

/// Publishes until the outbox is empty. Looks at `shutdown` between batches only.
async fn drain(
    store: &dyn Outbox,
    log: &dyn Log,
    clock: &Clock,
    knowledge: &mut Knowledge,
    shutdown: &CancellationToken,
) -> Result<(), OutboxError> {
    while !shutdown.is_cancelled() {
        let rows = store.outbox(BATCH_EVENTS_MAX).await?;
        if rows.is_empty() {
            *knowledge = Knowledge::Unpublished;
            break;
        }
        let before = std::mem::replace(knowledge, Knowledge::Unknown);
        let missing = match before {
            Knowledge::Unpublished => rows.iter().collect(),
            Knowledge::Unknown => not_published_yet(store, log, clock.now_ms(), &rows).await?,
        };
        publish(log, clock, &missing).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        store.outbox_published(&ids).await?;
        *knowledge = before;
    }
    Ok(())
}

async fn publish(log: &dyn Log, clock: &Clock, rows: &[&OutboxRow]) -> Result<(), OutboxError> {
    let mut encoder = Encoder::default();
    for row in rows {
        let event = Upstream {
            conversation_id: row.conversation_id,
            sender_id: row.actor,
            client_msg_id: row.client_msg_id.as_str().into(),
            kind: row.kind.clone(),
            content: row.content.as_str().into(),
            target_seq: None,
            remove: false,
        };
        let headers = Headers { hops: Some(HopTimes::starting(clock.now_ms())), ..Headers::default() };
        encoder.put(&UPSTREAM, &row.conversation_id, &event, headers)?;
    }
    if !encoder.is_empty() {
        log.append(encoder.finish()).await?;
    }
    Ok(())
}

/// The rows that are not in the topic. The search may outlast dedupe's window: rows that another relay has
/// published and deleted meanwhile are left out.
async fn not_published_yet<'a>(
    store: &dyn Outbox,
    log: &dyn Log,
    now_ms: i64,
    rows: &'a [OutboxRow],
) -> Result<Vec<&'a OutboxRow>, OutboxError> {
    let there = published_already(log, now_ms, rows).await?;
    let waiting: HashSet<i64> = store.outbox(BATCH_EVENTS_MAX).await?.iter().map(|row| row.id).collect();
    let is_missing = |row: &&OutboxRow| waiting.contains(&row.id) && !there.contains(row.client_msg_id.as_str());
    Ok(rows.iter().filter(is_missing).collect())
}

/// The keys of the rows that are in the topic: their partitions are read from the oldest row's time on.
async fn published_already<'a>(
    log: &dyn Log,
    now_ms: i64,
    rows: &'a [OutboxRow],
) -> Result<HashSet<&'a str>, OutboxError> {
    let mut since: BTreeMap<u32, i64> = BTreeMap::new();
    for row in rows {
        let from = since.entry(partition_in(log, row.conversation_id)).or_insert(i64::MAX);
        *from = row.created_at.min(*from);
    }
    let wanted: HashSet<&str> = rows.iter().map(|row| row.client_msg_id.as_str()).collect();
    let mut there = HashSet::new();
    for (partition, created_at) in since {
        let Some(newest_ms) = newest_time(log, partition).await? else { continue };
        // The repo's clock may be ahead of the log's: the row's age is subtracted from the log's time.
        let by_log = newest_ms.saturating_sub(now_ms.saturating_sub(created_at).max(0));
        let time_ms = created_at.min(by_log).saturating_sub(CLOCK_SKEW_MS);
        search(log, partition, time_ms, &wanted, &mut there).await?;
    }
    Ok(there)
}

/// When the log took the newest record of a partition, or an older one; `None`: it is empty.
async fn newest_time(log: &dyn Log, partition: u32) -> Result<Option<i64>, OutboxError> {
    let bounds = log.bounds(&UPSTREAM.spec, partition).await?;
    if bounds.start == bounds.end {
        return Ok(None);
    }
    // The newest offset may be a transaction marker, which is never read.
    for from in [bounds.end - 1, bounds.start] {
        let mut reader = log.read(&UPSTREAM.spec, &[(partition, StartAt::Offset(from))]).await?;
        while reader.position(partition).is_none_or(|position| position < bounds.end) {
            let Some(batch) = reader.next_within(SEARCH_WAIT).await? else { break };
            if let Some(newest) = batch.records.last() {
                return Ok(Some(newest.time_ms));
            }
        }
    }
    Err(OutboxError::SearchTimedOut { partition })
}

async fn search<'a>(
    log: &dyn Log,
    partition: u32,
    time_ms: i64,
    wanted: &HashSet<&'a str>,
    there: &mut HashSet<&'a str>,
) -> Result<(), OutboxError> {
    let end = log.bounds(&UPSTREAM.spec, partition).await?.end;
    let start = log.offset_at(&UPSTREAM.spec, partition, time_ms).await?;
    if start >= end {
        return Ok(());
    }
    let mut reader = log.read(&UPSTREAM.spec, &[(partition, StartAt::Offset(start))]).await?;
    while reader.position(partition).is_none_or(|position| position < end) {
        let Some(batch) = reader.next_within(SEARCH_WAIT).await? else {
            return Err(OutboxError::SearchTimedOut { partition });
        };
        for record in batch.records {
            // Undecodable bytes become dead letters elsewhere.
            let Ok(found) = Upstream::decode(&record.value) else { continue };
            there.extend(wanted.get(&*found.client_msg_id));
        }
    }
    Ok(())
}

fn partition_in(log: &dyn Log, conversation: ConversationId) -> u32 {
    let mut key = Vec::new();
    conversation.write(&mut key);
    partition_of(&key, log.layout().partitions(&UPSTREAM.spec))
}
