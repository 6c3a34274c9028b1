//! `gochat rebuild cache`: empties the cache on Redis and fills it from the store.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use schemas::ids::{MessageId, Seq};
use schemas::records::Sequenced;
use stages::repo::cache::hot::{self, record_of};
use stages::repo::cache::redis::{RedisCache, RedisConfig};
use stages::repo::cache::{Cache, CacheKind, Lifetimes};
use stages::repo::store::Store;
use tokio::time::Instant;

use crate::commands::error::CommandError;
use crate::commands::output;
use crate::config::Config;
use crate::stop::stop_signal;
use crate::{store, telemetry};

/// Arguments of `rebuild cache`.
#[derive(Debug, Args)]
pub struct RebuildCacheArgs {
    /// Configuration file (TOML). Without it the defaults hold.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the store [default: data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Messages that are read and kept at once.
const PAGE_MESSAGES: usize = 2_000;
/// A rebuild may wait longer for a page than a user.
const CALL_TIMEOUT_MS: u64 = 10_000;
/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Removes what the cache holds, then keeps the newest messages of every conversation.
pub async fn rebuild_cache(args: RebuildCacheArgs) -> Result<(), CommandError> {
    telemetry::start_tool_logs();
    let mut loaded = Config::load(args.config.as_deref())?;
    loaded.option(("--data", "data_dir"), args.data, |config| &mut config.data_dir);
    let config = loaded.checked()?;
    match config.repo.cache.kind {
        CacheKind::Redis => {}
        CacheKind::Local => {
            return Err("the cache is in the processes themselves (repo.cache.kind = \"local\"): \
                        it is new whenever they start, there is nothing to rebuild"
                .into());
        }
    }
    let redis = RedisConfig { call_timeout_ms: CALL_TIMEOUT_MS, ..config.repo.cache.redis.clone() };
    let cache = RedisCache::open(&redis, Lifetimes::default())?;
    let store = store::attach(&config).await?;
    tokio::select! {
        rebuilt = refill(&cache, &*store) => rebuilt,
        () = stop_signal()? => {
            Err("interrupted: what is not in the cache yet is read from the store; run it again to fill it".into())
        }
    }
}

async fn refill(cache: &RedisCache, store: &dyn Store) -> Result<(), CommandError> {
    let removed = cache.clear().await?;
    output::note(format_args!("removed {removed} keys"));
    let messages = fill(cache, store).await?;
    output::note(format_args!("done: {messages} messages read, the newest of every conversation are in the cache"));
    Ok(())
}

/// Keeps the newest messages of every conversation, and tells how many were read.
async fn fill(cache: &dyn Cache, store: &dyn Store) -> Result<u64, CommandError> {
    let (mut after, mut messages, mut told) = (MessageId(0), 0_u64, Instant::now());
    let mut begun = HashSet::new();
    loop {
        // By id, which is by seq within a conversation: older ones go as newer ones come.
        let page: Vec<Sequenced> = store.scan(after, PAGE_MESSAGES).await?.into_iter().map(record_of).collect();
        let Some(last) = page.last() else { break };
        after = last.message_id;
        messages += page.len() as u64;
        let page: Vec<_> = page.iter().collect();
        for part in hot::parts(&page) {
            let (conversation, first) = (part[0].conversation_id, part[0].seq_id);
            // By what is appended the cache begins with a first message alone, which may have been removed.
            if begun.insert(conversation) && first > Seq(1) {
                let run: Vec<_> = part.into_iter().cloned().map(Arc::new).collect();
                cache.fill(conversation, &run).await?;
            }
        }
        cache.append(&page).await?;
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            output::note(format_args!("{messages} messages read …"));
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use schemas::ids::{ConversationId, UserId};
    use schemas::kind::Kind;
    use stages::repo::cache::local::{LocalCache, LocalConfig};
    use stages::repo::sqlite::{SqliteConfig, SqliteStore};

    use super::*;

    #[tokio::test]
    async fn a_conversation_whose_first_messages_were_removed_is_filled_too() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            SqliteStore::open(&dir.path().join("repo.db"), SqliteConfig::default()).await.unwrap();
        let said = |seq| Sequenced {
            message_id: MessageId(seq),
            seq_id: Seq(seq),
            ordinal: seq,
            created_at: 0,
            conversation_id: ConversationId::World,
            sender_id: UserId(1),
            client_msg_id: "".into(),
            kind: Kind::Text,
            content: "hi".into(),
            target_seq: None,
            remove: false,
        };
        let batch: Vec<_> = (1..=9).map(said).collect();
        store.write_batch(&batch.iter().collect::<Vec<_>>()).await.unwrap();
        store.retire(&(1..=4).map(|seq| (ConversationId::World, Seq(seq))).collect::<Vec<_>>()).await.unwrap();
        let cache = LocalCache::new(&LocalConfig::default(), Lifetimes::default());
        assert_eq!(fill(&cache, &*store).await.unwrap(), 5);
        let kept = cache.messages(ConversationId::World, Seq(1)).await.unwrap();
        assert_eq!(kept.iter().map(|message| message.seq_id.0).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    }
}
