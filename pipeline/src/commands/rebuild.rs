//! `gochat rebuild`: rebuilds views of the log from its records.
//!
//! It writes messages to the store as persist does, and leaves those that are there as they are: it can run beside a
//! running process, and again. A file beside the data holds its progress, so that a run that was stopped can continue.
//! At the end the auditor compares both.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use schemas::avro::Record;
use schemas::ids::Seq;
use schemas::records::Sequenced;
use serde::{Deserialize, Serialize};
use stages::repo::store::Store;
use tokio::time::Instant;
use topics::catalogue::SEQUENCED;
use topics::log::{Bounds, Incoming, Log, StartAt};
use topics::scan::Scan;

use super::args::LogArgs;
use super::check::{Outcome, print, whole};
use super::error::CommandError;
use super::output;
use super::rebuild_cache::RebuildCacheArgs;
use crate::absent::Absent;
use crate::audit::{IDENTITIES_MAX, audit};
use crate::log::OpenLog;
use crate::stop::stop_signal;
use crate::{pairing, store, telemetry};

/// What to rebuild.
#[derive(Debug, Subcommand)]
pub enum RebuildCommand {
    /// The messages in the store, from sequenced-messages as far as it reaches back.
    #[command(after_help = "Examples:
  gochat rebuild store                                      ./data, also beside a running process
  gochat rebuild store --config deployment/config/kafka.toml
  gochat rebuild store --from-start                         although a former run was only stopped

Users, groups and who is a member are not in the log: they stay as the store has them.
Exit code: 0 store and topics agree, 1 they do not, 2 it could not be done.")]
    Store(RebuildStoreArgs),
    /// The cache on Redis, from the store: after the store was restored from a backup, or to warm it.
    #[command(after_help = "Processes may go on beside it: until it is done they read more from the store.

Examples:
  gochat rebuild cache --config deployment/config/kafka.toml
  GOCHAT__REPO__CACHE__KIND=redis gochat rebuild cache --data /var/lib/gochat")]
    Cache(RebuildCacheArgs),
}

/// Arguments of `rebuild store`.
#[derive(Debug, Args)]
pub struct RebuildStoreArgs {
    /// Which installation.
    #[command(flatten)]
    pub log: LogArgs,
    /// Begin at the start of the log, even if a former run was stopped further on.
    #[arg(long)]
    pub from_start: bool,
    /// The comparison at the end as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Records in one transaction of the store.
const BATCH_RECORDS_MAX: usize = 4_000;
/// Time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Rebuilds the messages in the store.
pub async fn store(args: RebuildStoreArgs) -> Result<Outcome, CommandError> {
    telemetry::start_tool_logs();
    let mut config = args.log.config()?;
    // A person is waiting for it, and can start it again.
    config.repo.store.wait_seconds = 0;
    let open = OpenLog::attach(&config).await?;
    if !config.data_dir.is_dir() {
        return Err(Absent { what: "data", dir: config.data_dir }.into());
    }
    let (log, store) = (open.log(), store::open(&config).await?);
    pairing::check_for_rebuild(&*log, &*store, &config).await?;
    let mut rebuild = Rebuild {
        log: &*log,
        store: &*store,
        checkpoint: Checkpoint::load(&config.data_dir, args.from_start)?,
        written: 0,
        cut: 0,
        reported: Instant::now(),
    };
    let done = tokio::select! {
        done = rebuild.run() => done,
        () = stop_signal()? => Err("it was stopped: the next run goes on from here".into()),
    };
    rebuild.checkpoint.save()?;
    done?;
    let (written, cut) = (rebuild.written, rebuild.cut);
    let reached = rebuild.reached().await?;
    output::line(format_args!("{written} records of sequenced-messages were written to the store{reached}"))?;
    if cut > 0 {
        output::line(format_args!(
            "{cut} conversations began before that: their older messages are not in the log any more"
        ))?;
    }
    pairing::note(&*log, &*store, &config).await?;
    rebuild.checkpoint.remove()?;
    let scope = whole(&config, &open, u64::MAX, IDENTITIES_MAX);
    let findings = audit(&*log, &*store, &scope, |what| output::note(format_args!("comparing {what} …"))).await?;
    print(&findings, args.json)?;
    drop(log);
    open.close().await;
    Ok(if findings.hold() { Outcome::Holds } else { Outcome::Broken })
}

struct Rebuild<'a> {
    log: &'a dyn Log,
    store: &'a dyn Store,
    checkpoint: Checkpoint,
    written: u64,
    /// Conversations whose first message is no longer in the log.
    cut: u64,
    reported: Instant,
}

impl Rebuild<'_> {
    async fn run(&mut self) -> Result<(), CommandError> {
        let topic = &SEQUENCED.spec;
        for partition in 0..self.log.layout().partitions(topic) {
            let Bounds { start, end } = self.log.bounds(topic, partition).await?;
            let from = self.checkpoint.positions.get(&partition).copied().unwrap_or(start).clamp(start, end);
            let mut scan = Scan::open(self.log, topic, partition, StartAt::Offset(from), end).await?;
            let mut seen = std::collections::HashSet::new();
            while let Some(batch) = scan.next().await? {
                for records in batch.records.chunks(BATCH_RECORDS_MAX) {
                    let messages = stored(records);
                    let first_seen = |m: &&Sequenced| seen.insert(m.conversation_id) && m.seq_id > Seq(1);
                    self.cut +=
                        if start > 0 && from == start { messages.iter().filter(first_seen).count() as u64 } else { 0 };
                    self.store.write_batch(&messages.iter().collect::<Vec<_>>()).await?;
                    self.written += messages.len() as u64;
                    let next = records.last().map_or(from, |record| record.offset + 1);
                    self.checkpoint.positions.insert(partition, next);
                    self.report(partition, next, end)?;
                }
            }
            self.checkpoint.positions.insert(partition, end);
            self.checkpoint.save()?;
        }
        Ok(())
    }

    fn report(&mut self, partition: u32, next: u64, end: u64) -> io::Result<()> {
        if self.reported.elapsed() >= PROGRESS_EVERY {
            self.reported = Instant::now();
            output::note(format_args!("partition {partition}: {next} of {end}; {} records written", self.written));
            self.checkpoint.save()?;
        }
        Ok(())
    }

    /// How far back the log reaches, in words.
    async fn reached(&self) -> Result<String, CommandError> {
        let topic = &SEQUENCED.spec;
        let mut oldest = None;
        for partition in 0..self.log.layout().partitions(topic) {
            let end = self.log.bounds(topic, partition).await?.end;
            let first = Scan::open(self.log, topic, partition, StartAt::Earliest, end).await?.next().await?;
            let time = first.and_then(|batch| batch.records.first().map(|record| record.time_ms));
            oldest = oldest.into_iter().chain(time).min();
        }
        Ok(oldest.map_or_else(String::new, |ms: i64| format!("; the log reaches back to {}", output::time(ms))))
    }
}

/// The messages that persist stores. Bytes that are no record are skipped: persist sets them aside too.
fn stored(records: &[Incoming]) -> Vec<Sequenced> {
    let messages = records.iter().filter_map(|record| Sequenced::decode(&record.value).ok());
    messages.filter(|message| message.kind.rules().stored).collect()
}

/// The progress of a run, in a file beside the data.
#[derive(Debug)]
struct Checkpoint {
    path: PathBuf,
    positions: BTreeMap<u32, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    positions: BTreeMap<u32, u64>,
}

impl Checkpoint {
    fn load(data_dir: &Path, from_start: bool) -> Result<Self, CommandError> {
        let path = data_dir.join("rebuild-store.json");
        let positions = match std::fs::read(&path) {
            Ok(_) if from_start => BTreeMap::new(),
            Ok(bytes) => {
                let saved: Saved = serde_json::from_slice(&bytes)
                    .map_err(|e| format!("{} is damaged ({e}): remove it, or use --from-start", path.display()))?;
                output::note("continuing where a former run was stopped; --from-start starts over");
                saved.positions
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(format!("{} can't be read: {e}", path.display()).into()),
        };
        Ok(Self { path, positions })
    }

    fn save(&self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&Saved { positions: self.positions.clone() })?)?;
        std::fs::rename(&beside, &self.path)
    }

    fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
