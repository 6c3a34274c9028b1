//! `bench store`: the persist stage and the reads of one store, beside bare SQL on the same tables.

use std::sync::Arc;
use std::time::Duration;

use crate::bare_sql::{self, BareSql};
use crate::latency::Latencies;
use crate::report::Report;
use crate::store::{Contest, READERS, Reads, Sides};
use crate::workload::Workload;
use stages::repo::sqlite::SqliteConfig;
use stages::repo::store::Store;

use super::CommandError;
use super::installation::BenchedStore;
use crate::args::StoreBenchArgs;
use pipeline::commands::output;

const SEED: u64 = 1;

/// Measures writing, reading and single messages, and prints them.
///
/// # Errors
/// When a part fails, or a figure is not what it should be.
pub async fn store(args: &StoreBenchArgs) -> Result<(), CommandError> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let benched = BenchedStore::make(args.store.as_ref(), dir.path()).await?;
    let (store, bare): (Arc<dyn Store>, Box<dyn BareSql>) = match &benched {
        BenchedStore::File(path) => {
            (benched.open().await?, bare_sql::sqlite(&SqliteConfig::default().options(path)).await?)
        }
        BenchedStore::Server(scratch) => (benched.open().await?, bare_sql::server(&scratch.url()).await?),
    };
    let workload = Workload {
        seed: SEED,
        conversations: args.conversations,
        content_bytes: args.content_bytes,
        large_group_every: 0,
    };
    let mut contest = Contest::new(store, bare, workload);
    let each = args.messages / 2;
    output::note(format_args!("storing {} messages …", args.messages));
    let wrote = contest.write(each, args.batch).await?;
    output::note(format_args!("reading {} pages …", args.reads));
    let read = contest.read(args.reads, args.page).await?;
    output::note(format_args!("storing {} messages one by one …", args.singles));
    let singles = contest.write_singly(args.singles).await?;

    let mut writing = Report::new("bench store: batches");
    writing
        .setting("store", benched.described())
        .setting("messages", format!("{} of {} B", args.messages, args.content_bytes))
        .setting("conversations", format!("{}, of each side", args.conversations))
        .setting("messages in a batch, one transaction", args.batch)
        .setting("seed", SEED)
        .row("bare SQL into the same tables", each, wrote.bare)
        .row("persist", each, wrote.store);
    let mut reading = Report::new(format!("the {} newest of a conversation", args.page));
    reading
        .row("one at a time, bare, contents only", args.reads, read.bare)
        .row("one at a time, store", args.reads, read.store)
        .row(format!("{READERS} at a time, store"), args.reads, read.at_once);
    let p99 = singles.store.quantile(0.99);
    let mut alone = Latencies::default();
    alone.row("one message, bare SQL", singles.bare).row("one message, store", singles.store);
    output::line(&writing)?;
    output::line(&reading)?;
    output::line(&alone)?;
    judge(args, wrote, read, p99)
}

/// Says which of the bars are missed.
fn judge(args: &StoreBenchArgs, wrote: Sides, read: Reads, p99: Duration) -> Result<(), CommandError> {
    let each = args.messages / 2;
    let mut missed = Vec::new();
    let ratio = wrote.store.per_second(each) / wrote.bare.per_second(each);
    if ratio < args.ratio_min {
        missed.push(format!("batches are written at {ratio:.2} of the bare rate, at least {} wanted", args.ratio_min));
    }
    let reads = read.store.per_second(args.reads);
    if args.reads > 0 && reads < args.reads_min {
        missed.push(format!("{reads:.0} pages are read a second one at a time, at least {} wanted", args.reads_min));
    }
    let ms = p99.as_secs_f64() * 1_000.0;
    if ms > args.single_p99_ms_max {
        missed.push(format!("p99 of one message is {ms:.2} ms, at most {} wanted", args.single_p99_ms_max));
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("; ").into()) }
}
