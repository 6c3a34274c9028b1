//! `bench cache`: histories read through a cache that has room for a part of them, beside the
//! same reads without one.

use std::sync::Arc;

use crate::cache::{Histories, conversation};
use crate::report::Report;
use crate::zipf::Zipf;
use metrics_exporter_prometheus::PrometheusHandle;
use stages::repo::cache::local::{LocalCache, LocalConfig};
use stages::repo::cache::redis::upkeep::Room;
use stages::repo::cache::redis::{RedisCache, RedisConfig};
use stages::repo::cache::{Cache, KEPT_MESSAGES, Lifetimes};
use stages::repo::cached::CachedStore;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use stages::repo::store::{MessageSink, Store};

use super::CommandError;
use crate::args::CacheBenchArgs;
use pipeline::commands::output;
use pipeline::telemetry;

const SEED: u64 = 1;
/// Messages that are stored at once.
const BATCH_MESSAGES: usize = 5_000;
/// Messages in a page.
const PAGE_MESSAGES: usize = 50;

/// Measures reads with and without a cache, and prints both.
///
/// # Errors
/// When a part fails, or fewer reads than wanted hit the cache.
pub async fn cache(args: &CacheBenchArgs) -> Result<(), CommandError> {
    let metrics = telemetry::start_metrics()?;
    let dir = tempfile::tempdir()?;
    let histories = Arc::new(Histories {
        seed: SEED,
        zipf: Zipf::new(args.conversations, args.zipf),
        content_bytes: args.content_bytes,
        page_messages: PAGE_MESSAGES,
    });
    let config = SqliteConfig { reader_connections: u32::try_from(args.readers)?, ..SqliteConfig::default() };
    let store: Arc<dyn Store> = SqliteStore::open(&dir.path().join("repo.db"), config).await?;
    let (cache, room) = match &args.redis {
        None => in_process(args),
        Some(url) => on_redis(args, url, &histories).await?,
    };
    let cached = Arc::new(CachedStore::new(store.clone(), store.clone(), cache));
    output::note(format_args!("storing {} messages in {} conversations …", args.messages, args.conversations));
    let mut messages = histories.messages(args.messages, args.conversations);
    loop {
        let batch: Vec<_> = messages.by_ref().take(BATCH_MESSAGES).collect();
        if batch.is_empty() {
            break;
        }
        cached.write_batch(&batch.iter().collect::<Vec<_>>()).await?;
    }

    output::note(format_args!("reading {} pages without the cache …", args.reads));
    let bare = histories.read(&store, args.reads, args.readers, SEED + 1_000).await?;
    output::note(format_args!("reading {} pages to warm it …", args.reads));
    histories.read(&cached, args.reads, args.readers, SEED + 2_000).await?;
    let before = Counts::of(&metrics);
    output::note(format_args!("reading {} pages through the cache …", args.reads));
    let took = histories.read(&cached, args.reads, args.readers, SEED + 3_000).await?;
    let percent = Counts::of(&metrics).percent_since(&before);

    let mut report = Report::new("bench cache");
    report
        .setting("cache", if args.redis.is_some() { "Redis" } else { "in process" })
        .setting("store", "SQLite, WAL, synchronous=FULL")
        .setting("messages", format!("{} of {} B", args.messages, args.content_bytes))
        .setting("conversations", format!("{}, written and read by Zipf's law, s = {}", args.conversations, args.zipf))
        .setting("a message in the cache", format!("{} B", room.message_bytes))
        .setting("room in the cache", format!("{} B, for {} % of all messages", room.bytes, args.room_percent))
        .setting("a read", format!("the {PAGE_MESSAGES} newest of a conversation"))
        .setting("readers at once", args.readers)
        .setting("seed", SEED)
        .setting("hits", format!("{percent:.2} %"))
        .row("store alone", args.reads, bare)
        .row("through the cache", args.reads, took);
    output::line(&report)?;
    if percent < args.hit_percent_min {
        return Err(
            format!("{percent:.2} % of the reads hit the cache; at least {} % should", args.hit_percent_min).into()
        );
    }
    Ok(())
}

/// How many of all messages the cache has room for.
fn messages_kept(args: &CacheBenchArgs) -> u64 {
    args.messages * args.room_percent / 100
}

fn in_process(args: &CacheBenchArgs) -> (Arc<dyn Cache>, Room) {
    let message = LocalCache::MESSAGE_BYTES + args.content_bytes + args.messages.to_string().len();
    let messages_mib_max = (messages_kept(args) * message as u64) >> 20;
    let config = LocalConfig { messages_mib_max, ..LocalConfig::default() };
    let room = Room { message_bytes: message as u64, bytes: messages_mib_max << 20 };
    (Arc::new(LocalCache::new(&config, Lifetimes::default())), room)
}

/// A server's memory is made so large, which is to be nobody else's.
async fn on_redis(
    args: &CacheBenchArgs,
    url: &str,
    histories: &Histories,
) -> Result<(Arc<dyn Cache>, Room), CommandError> {
    let config = RedisConfig {
        url: url.to_owned(),
        key_prefix: "bench:".to_owned(),
        // Batches are large, and the machine is busy with the bench itself.
        call_timeout_ms: 5_000,
        ..RedisConfig::default()
    };
    let cache = RedisCache::open(&config, Lifetimes::default())?;
    // Of an earlier run.
    cache.clear().await?;
    let others = cache.key_count().await?;
    if others > 0 {
        return Err(format!(
            "the Redis holds {others} keys of somebody else, which would take a part of the room: \
             give the bench a server of its own, or empty this one with FLUSHALL"
        )
        .into());
    }
    let like = conversation(args.conversations);
    let sample = histories.sample(like, KEPT_MESSAGES, args.messages);
    let room = cache.make_room(messages_kept(args), like, &sample).await?;
    Ok((Arc::new(cache), room))
}

/// What the cache's own metrics say.
struct Counts {
    hits: f64,
    misses: f64,
}

impl Counts {
    fn of(metrics: &PrometheusHandle) -> Self {
        let text = metrics.render();
        let of = |name: &str| {
            let line = format!("{name}{{what=\"messages\"}} ");
            text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0.0)
        };
        Self { hits: of("gochat_cache_hits_total"), misses: of("gochat_cache_misses_total") }
    }

    fn percent_since(&self, before: &Self) -> f64 {
        let (hits, misses) = (self.hits - before.hits, self.misses - before.misses);
        100.0 * hits / (hits + misses).max(1.0)
    }
}
