//! Whether log and store belong together: checked when a process opens both, before it serves or persists.
//!
//! Each is of use only with the other. Beside a new or another log, the store holds seqs that the log assigns again; a
//! store that lost messages below persist's position is never filled again. Three checks, each at the newest records:
//!
//! - **The id.** A log has an id (topic `log-identity`), and a store the id of the log that it was filled from, whatever
//!   they hold. Pairs that are older than the ids get one when the other checks find nothing.
//! - **The store is not ahead.** Of its newest messages each is at most as far as the head of its conversation in
//!   `conversation-heads`, which is compacted and never dropped. Id-assign commits a head before persist sees the message,
//!   so this holds at any moment, whatever other processes do.
//! - **The store is not behind.** The newest message below persist's position in each partition is there, or was removed
//!   by the retention.
//!
//! What is wrong further back only `gochat check` finds, which reads everything.

mod error;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use schemas::avro::Record;
use schemas::ids::{ConversationId, Seq};
use schemas::records::{Head, LogIdentity, Sequenced};
use stages::repo::model::Message;
use stages::repo::store::{self, Store};
use tokio::time::{Instant, sleep};
use topics::catalogue::{HEADS, Key, Keyed, LOG_IDENTITY, SEQUENCED};
use topics::codec::Encoder;
use topics::headers::Headers;
use topics::log::{self, Log, LogError, PartitionLag, StartAt};
use topics::partition::partition_of;
use topics::scan::Scan;

pub use self::error::PairingError;
use crate::config::Config;
use crate::topology::{PERSIST, Row};

/// The newest message is looked for among so many offsets below the position. The others may be records that are not
/// stored, or marks of transactions.
const LOOK_BACK_OFFSETS: u64 = 100;
/// Of the store so many messages are looked at.
const NEWEST_MESSAGES: usize = 100;
/// The head of a message is looked for from its time on, less this: clocks of log and id-assign may differ. Where it is
/// not found so, all heads are read.
const CLOCK_SKEW_MS: i64 = 60_000;
/// Partitions looked at at once.
const PARTITIONS_AT_ONCE: usize = 8;
/// A log or store that does not answer is asked again after this time.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// Looks at the log and the store that are configured, and opened; a pair without ids gets them. What does not answer is
/// asked again for `repo.store.wait_seconds`.
///
/// # Errors
/// [`PairingError`]: a person has to look.
pub async fn check(log: &dyn Log, store: &dyn Store, config: &Config) -> Result<(), PairingError> {
    let pair = Pair { log, store, config };
    let deadline = Instant::now() + config.repo.store.wait();
    loop {
        let Err(error) = pair.check().await else { return Ok(()) };
        let passes = match &error {
            PairingError::Log { source, .. } => source.class() == log::Class::Retry,
            PairingError::Store(error) => error.class() == store::Class::Retry,
            PairingError::Encode(_)
            | PairingError::Foreign { .. }
            | PairingError::Ahead { .. }
            | PairingError::Lacks { .. } => false,
        };
        if !passes || Instant::now() + NEXT_TRY >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, "log and store are asked again whether they belong together");
        sleep(NEXT_TRY).await;
    }
}

/// The same for a store that is about to be filled from the log, and may lack everything. Changes neither.
pub async fn check_for_rebuild(log: &dyn Log, store: &dyn Store, config: &Config) -> Result<(), PairingError> {
    let pair = Pair { log, store, config };
    pair.ids().await?;
    pair.is_not_ahead().await
}

/// Notes in a store that was filled from the log which one it was, if the log has an id.
pub async fn note(log: &dyn Log, store: &dyn Store, config: &Config) -> Result<(), PairingError> {
    match (Pair { log, store, config }).log_id().await? {
        Some(id) => Ok(store.set_log_id(&id).await?),
        None => Ok(()),
    }
}

struct Pair<'a> {
    log: &'a dyn Log,
    store: &'a dyn Store,
    config: &'a Config,
}

impl Pair<'_> {
    async fn check(&self) -> Result<(), PairingError> {
        let (known, noted) = self.ids().await?;
        self.is_not_ahead().await?;
        self.is_not_behind().await?;
        if noted == Noted::This {
            return Ok(());
        }
        let id = match known {
            Some(id) => id,
            None => self.give_id().await?,
        };
        self.store.set_log_id(&id).await?;
        // Another process may have been first, with another log.
        self.ids().await.map(|_| ())
    }

    /// The id of the log, and whether the store has noted it. The store is asked first: it notes only what its log has
    /// by then, whatever other processes do at this moment, so a log without an id is another one.
    async fn ids(&self) -> Result<(Option<String>, Noted), PairingError> {
        let filled_from = self.store.log_id().await?;
        let log_id = self.log_id().await?;
        match filled_from {
            None => Ok((log_id, Noted::Nothing)),
            Some(id) if log_id.as_ref() == Some(&id) => Ok((log_id, Noted::This)),
            Some(filled_from) => Err(PairingError::Foreign {
                store: crate::store::name(self.config),
                filled_from,
                log: crate::log::name(self.config),
                is: log_id.unwrap_or_else(|| "without an id".to_owned()),
                remedy: error::remedy(self.config),
            }),
        }
    }

    /// The id of the log: the first that was given.
    async fn log_id(&self) -> Result<Option<String>, PairingError> {
        let topic = &LOG_IDENTITY.spec;
        let read = async {
            let end = self.log.bounds(topic, 0).await?.end;
            let mut scan = Scan::open(self.log, topic, 0, StartAt::Earliest, end).await?;
            while let Some(batch) = scan.next().await? {
                let mut ids = batch.records.iter().filter_map(|record| LogIdentity::decode(&record.value).ok());
                if let Some(identity) = ids.next() {
                    return Ok(Some(identity.id));
                }
            }
            Ok(None)
        };
        match read.await {
            // A log that an older version made, opened by a tool, which makes no topics.
            Err(LogError::NoSuchTopic { .. } | LogError::NoSuchPartition { .. }) => Ok(None),
            read => read.map_err(|source| self.log_error(source)),
        }
    }

    /// Gives the log an id, unless another process is faster.
    #[allow(clippy::disallowed_methods, reason = "an id only has to be unlike all others")]
    async fn give_id(&self) -> Result<String, PairingError> {
        let identity = LogIdentity { id: format!("{:032x}", rand::random::<u128>()) };
        let mut encoder = Encoder::default();
        encoder.put(&LOG_IDENTITY, &identity.key(), &identity, Headers::default())?;
        self.log.append(encoder.finish()).await.map_err(|source| self.log_error(source))?;
        Ok(self.log_id().await?.unwrap_or(identity.id))
    }

    /// Whether the log knows the newest messages of the store.
    async fn is_not_ahead(&self) -> Result<(), PairingError> {
        let mut newest: BTreeMap<u32, BTreeMap<ConversationId, Message>> = BTreeMap::new();
        for message in self.store.newest(NEWEST_MESSAGES).await? {
            let of_partition = newest.entry(self.partition(message.conversation_id)).or_default();
            let kept = of_partition.entry(message.conversation_id).or_insert_with(|| message.clone());
            if kept.seq_id < message.seq_id {
                *kept = message;
            }
        }
        for (partition, messages) in &newest {
            let since = messages.values().map(|message| message.created_at).min().unwrap_or(0) - CLOCK_SKEW_MS;
            let mut heads = self.heads(*partition, StartAt::Time(since)).await?;
            if messages.values().any(|message| !is_known(message, &heads)) {
                heads = self.heads(*partition, StartAt::Earliest).await?;
            }
            if let Some(message) = messages.values().find(|message| !is_known(message, &heads)) {
                return Err(self.ahead(message, heads.get(&message.conversation_id)));
            }
        }
        Ok(())
    }

    fn ahead(&self, message: &Message, head: Option<&Head>) -> PairingError {
        let knows = match head {
            None => "knows nothing of that conversation".to_owned(),
            Some(head) if head.seq_id < message.seq_id => format!("has its first {} messages alone", head.seq_id),
            Some(head) => format!("has message {} there", head.message_id),
        };
        PairingError::Ahead {
            store: crate::store::name(self.config),
            log: crate::log::name(self.config),
            message: message.message_id,
            conversation: message.conversation_id,
            seq: message.seq_id,
            knows,
            remedy: error::remedy(self.config),
        }
    }

    /// The newest head of each conversation of a partition, as far as it lies in this part of the changelog.
    async fn heads(&self, partition: u32, from: StartAt) -> Result<BTreeMap<ConversationId, Head>, PairingError> {
        let topic = &HEADS.spec;
        let read = async {
            let end = self.log.bounds(topic, partition).await?.end;
            let mut scan = Scan::open(self.log, topic, partition, from, end).await?;
            let mut heads = BTreeMap::new();
            while let Some(batch) = scan.next().await? {
                let decoded = batch.records.iter().filter_map(|record| Head::decode(&record.value).ok());
                heads.extend(decoded.map(|head| (head.conversation_id, head)));
            }
            Ok(heads)
        };
        read.await.map_err(|source| self.log_error(source))
    }

    fn partition(&self, conversation: ConversationId) -> u32 {
        let mut key = Vec::new();
        conversation.write(&mut key);
        partition_of(&key, self.log.layout().partitions(&HEADS.spec))
    }

    /// Whether the store has the newest message that persist has passed in each partition.
    async fn is_not_behind(&self) -> Result<(), PairingError> {
        let positions = self.log.lag(PERSIST.name(), PERSIST.input()).await.map_err(|source| self.log_error(source))?;
        let looked_at = stream::iter(positions).map(|position| async move {
            let passed = newest_passed(self.log, &position).await.map_err(|source| self.log_error(source))?;
            let Some(newest) = passed else { return Ok(()) };
            let (conversation, seq, message) = (newest.conversation_id, newest.seq_id, newest.message_id);
            match self.store.message_at(conversation, seq).await? {
                Some(found) if found.message_id == message => Ok(()),
                None if self.store.extent(conversation).await?.lost(seq) => Ok(()),
                Some(_) | None => {
                    Err(PairingError::Lacks { store: crate::store::name(self.config), message, conversation, seq })
                }
            }
        });
        looked_at.buffer_unordered(PARTITIONS_AT_ONCE).try_collect().await
    }

    fn log_error(&self, source: LogError) -> PairingError {
        PairingError::Log { log: crate::log::name(self.config), source }
    }
}

/// What a store has noted of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// It is this one.
    This,
    Nothing,
}

/// Whether a stored message lies below the head of its conversation, or is it.
fn is_known(message: &Message, heads: &BTreeMap<ConversationId, Head>) -> bool {
    heads.get(&message.conversation_id).is_some_and(|head| {
        head.seq_id > message.seq_id || (head.seq_id == message.seq_id && head.message_id == message.message_id)
    })
}

/// The newest message that persist has passed in a partition, as far as it is still kept.
async fn newest_passed(log: &dyn Log, position: &PartitionLag) -> Result<Option<Sequenced>, LogError> {
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
