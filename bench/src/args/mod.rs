//! The command line.

mod sockets;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::config::LogKind;
use pipeline::database_url::DatabaseUrl;
use pipeline::topology::Fuse;

use crate::log::BenchedLog;
pub use sockets::{ConnectionsBenchArgs, SocketsBenchArgs};
pub use store::StoreBenchArgs;

/// Measures GoChat. Each command reports its settings with its figures; the exit code is 1 when a message is lost or
/// a bound is missed.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples, with `cargo run --profile dist --package bench --` before each:
  chain                                             messages a second through all five stages
  chain --log kafka --brokers 127.0.0.1:19092       the same on a real broker
  stage dedupe                                      one stage alone, without any I/O
  sockets --rate 5000                               latency from socket to socket, hop by hop";

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All five stages between a real log and a real store.
    #[command(after_help = "Examples:
  bench chain --log embedded
  bench chain --log kafka --brokers 127.0.0.1:19092
  bench chain --messages 1000000 --partitions 8 --fused both
  bench chain --log kafka --brokers 127.0.0.1:19092 --profile
  bench chain --store postgres://gochat:gochat@127.0.0.1:19132/gochat")]
    Chain(ChainBenchArgs),
    /// One stage alone, without any I/O.
    #[command(after_help = "Examples:
  bench stage dedupe
  bench stage fan-out --records 2000000 --batch 4096")]
    Stage(StageBenchArgs),
    /// A store alone: batches against bare SQL, pages of histories, single messages.
    #[command(after_help = store::STORE_EXAMPLES)]
    Store(StoreBenchArgs),
    /// From socket to socket: latency at a given rate, hop by hop.
    #[command(after_help = sockets::SOCKETS_EXAMPLES)]
    Sockets(SocketsBenchArgs),
    /// Sockets that one gateway holds, and what memory each of them takes.
    #[command(after_help = sockets::CONNECTIONS_EXAMPLES)]
    Connections(ConnectionsBenchArgs),
    /// Reads of histories through a cache with room for a part of them.
    #[command(after_help = "Examples:
  bench cache
  bench cache --redis redis://127.0.0.1:19112     a server that nobody else uses: its memory is limited")]
    Cache(CacheBenchArgs),
}

/// Arguments of `bench cache`.
#[derive(Debug, Args)]
pub struct CacheBenchArgs {
    /// The Redis to measure, whose maxmemory is set. Without it the cache in this process is measured.
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// How many messages.
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: u64,
    /// Bytes of content in each.
    #[arg(long, default_value_t = 128)]
    pub content_bytes: usize,
    /// Between how many conversations they are spread.
    #[arg(long, default_value_t = 20_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub conversations: usize,
    /// How unevenly: the exponent s of Zipf's law.
    #[arg(long, default_value_t = 1.1)]
    pub zipf: f64,
    /// For how many of the messages, in percent, the cache has room.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub room_percent: u64,
    /// How many pages are read: to warm the cache, and again to measure it.
    #[arg(long, default_value_t = 300_000)]
    pub reads: u64,
    /// How many read at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub readers: u64,
    /// Fail when fewer of the reads, in percent, hit the cache.
    #[arg(long, default_value_t = 95.0)]
    pub hit_percent_min: f64,
}

/// Arguments of `bench chain`.
#[derive(Debug, Args)]
pub struct ChainBenchArgs {
    /// The log that carries the topics.
    #[arg(long, value_enum, default_value = "embedded")]
    pub log: LogKind,
    /// The brokers, for the log kafka. Each run makes topics of its own, which stay.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:19092")]
    pub brokers: String,
    /// A database server, postgres://user:password@host:port/database or mysql://…: a database of the bench's
    /// own is made on it, and dropped in the end. Without it messages are stored in SQLite.
    #[arg(long, value_name = "URL", value_parser = DatabaseUrl::of_server)]
    pub store: Option<DatabaseUrl>,
    /// How many messages.
    #[arg(long, default_value_t = 500_000)]
    pub messages: u64,
    /// Bytes of content in each; 195 make an upstream record of 256.
    #[arg(long, default_value_t = 195)]
    pub content_bytes: usize,
    /// Between how many conversations they are spread.
    #[arg(long, default_value_t = 10_000)]
    pub conversations: u64,
    /// Partitions of the chain topics.
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// Most records in a batch.
    #[arg(long, default_value_t = 8_192)]
    pub batch: usize,
    /// Tasks of each stage.
    #[arg(long, default_value_t = 2)]
    pub tasks: u16,
    /// Which stages share a task; the default is the product's.
    #[arg(long, value_enum, default_value = "first")]
    pub fused: Fused,
    /// Each stage on threads of its own, so that the table of threads tells the stages apart.
    #[arg(long)]
    pub profile: bool,
    /// Where the data of the run is kept while it lasts [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Neighbours that share a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fused {
    /// Every stage has tasks of its own.
    None,
    /// dedupe and id-assign share tasks.
    First,
    /// So do persist and fan-out.
    Both,
}

impl Fused {
    pub fn pairs(self) -> Fuse {
        match self {
            Self::None => Fuse::NONE,
            Self::First => Fuse { dedupe_and_id_assign: true, ..Fuse::NONE },
            Self::Both => Fuse::ALL,
        }
    }

    /// For a report.
    pub fn described(self) -> &'static str {
        match self {
            Self::None => "each in tasks of its own",
            Self::First => "dedupe and id-assign fused",
            Self::Both => "dedupe and id-assign fused, persist and fan-out too",
        }
    }
}

/// One message to so many goes ahead uncounted: tasks get their partitions, brokers their code compiled.
const WARM_UP_SHARE: u64 = 10;

impl ChainBenchArgs {
    /// The log that is asked for.
    pub fn log(&self) -> BenchedLog<'_> {
        BenchedLog { kind: self.log, brokers: &self.brokers, partitions: self.partitions }
    }

    /// How many messages go ahead of those that are measured.
    pub fn warm_up_messages(&self) -> u64 {
        self.messages.div_ceil(WARM_UP_SHARE)
    }
}

/// Arguments of `bench stage`.
#[derive(Debug, Args)]
pub struct StageBenchArgs {
    /// The stage to measure.
    #[arg(value_enum)]
    pub stage: BenchedStage,
    /// How many records.
    #[arg(long, default_value_t = 2_000_000)]
    pub records: u64,
    /// Records in a batch.
    #[arg(long, default_value_t = 4_096)]
    pub batch: usize,
}

/// A stage that can be measured alone; `bench store` measures persist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchedStage {
    /// At 10 million live keys, with eviction.
    Dedupe,
    /// At 1 million conversations.
    IdAssign,
    /// Pairs and groups of 500.
    FanOut,
    /// Pages of groups of 10,000.
    LargeGroup,
}
