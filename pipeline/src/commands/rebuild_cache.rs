//! `gochat rebuild cache`: empties the cache on Redis and fills it from the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use schemas::ids::MessageId;
use schemas::records::Sequenced;
use stages::repo::cache::hot::record_of;
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
        rebuilt = refill(&cache, &store) => rebuilt,
        () = stop_signal()? => {
            Err("interrupted: what is not in the cache yet is read from the store; run it again to fill it".into())
        }
    }
}

async fn refill(cache: &RedisCache, store: &Arc<dyn Store>) -> Result<(), CommandError> {
    let removed = cache.clear().await?;
    output::note(format_args!("removed {removed} keys"));
    let (mut after, mut messages, mut told) = (MessageId(0), 0_u64, Instant::now());
    loop {
        // By id, which is by seq within a conversation: older ones go as newer ones come.
        let page: Vec<Sequenced> = store.scan(after, PAGE_MESSAGES).await?.into_iter().map(record_of).collect();
        let Some(last) = page.last() else { break };
        after = last.message_id;
        messages += page.len() as u64;
        cache.append(&page.iter().collect::<Vec<_>>()).await?;
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            output::note(format_args!("{messages} messages read …"));
        }
    }
    output::note(format_args!("done: {messages} messages read, the newest of every conversation are in the cache"));
    Ok(())
}
