//! The command line.

mod sockets;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::check::{CHECK_EXAMPLES, CheckArgs};
use crate::commands::rebuild::RebuildCommand;
use crate::commands::topics::args::TopicsArgs;
use crate::database_url::DatabaseUrl;
pub use sockets::{ConnectionsBenchArgs, SocketsBenchArgs};
pub use store::StoreBenchArgs;

/// An instant-messaging backend as a stream-processing pipeline.
#[derive(Debug, Parser)]
#[command(name = "gochat", version = VERSION, about = ABOUT, args_conflicts_with_subcommands = true, after_help = RUN_EXAMPLES)]
pub struct Cli {
    /// What to do; `run` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of `run`, when no command is named.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Version, commit and features, as `build.rs` found them.
const VERSION: &str = env!("GOCHAT_VERSION");

const ABOUT: &str = "An instant-messaging backend as a stream-processing pipeline";

const RUN_EXAMPLES: &str = "Examples:
  gochat                                    everything in this process, data in ./data, page at http://127.0.0.1:8080
  gochat run --data /var/lib/gochat --http 0.0.0.0:80
  gochat run --config deployment/config/kafka.toml --roles dedupe,id-assign,persist,fan-out,large-group --instance 1
  gochat run --config deployment/config/kafka.toml --roles gateway --instance 2 --slot 1
  gochat bench chain --log embedded         messages a second through all five stages
  gochat topics tail sequenced-messages -f  what is being said, as JSON
  gochat check                              does every guarantee hold?
  GOCHAT__TELEMETRY__FILTER=debug gochat    any setting from the environment";

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the chain, the gateway and the repo.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Look at what the topics hold: offsets, lag, records as JSON, dead letters.
    Topics(TopicsArgs),
    /// Look at topics and store, and say of each guarantee whether it holds.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Make views of the log anew.
    #[command(subcommand)]
    Rebuild(RebuildCommand),
    /// Measure.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the completions of this command line for a shell.
    #[command(after_help = "Examples:
  gochat completions bash > ~/.local/share/bash-completion/completions/gochat
  gochat completions zsh > ~/.zfunc/_gochat                   a directory of $fpath
  gochat completions fish > ~/.config/fish/completions/gochat.fish")]
    Completions(CompletionsArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file (TOML). Without it the defaults hold.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the log, the store and the keys [default: data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of HTTP and WebSocket [default: 127.0.0.1:8080]; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Address of gRPC [default: 127.0.0.1:9090]; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub grpc: Option<SocketAddr>,
    /// Address where metrics can be scraped [default: none]; a gateway has them at /metrics anyway.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// What to run here, separated by commas [default: all]. On Kafka the rest runs in other processes.
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// Number of this process among those that share a log [default: 0]; each has its own.
    #[arg(long, value_name = "N")]
    pub instance: Option<u16>,
    /// The gateway's partition of the deliveries [default: 0]; each gateway has its own.
    #[arg(long, value_name = "N")]
    pub slot: Option<u32>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// A part of GoChat that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Role {
    /// HTTP and WebSocket.
    Gateway,
    /// Users, groups and messages over gRPC.
    Repo,
    /// The stage that drops repeats.
    Dedupe,
    /// The stage that gives identities.
    IdAssign,
    /// The stage that writes to the repo.
    Persist,
    /// The stage that finds who is online where.
    FanOut,
    /// The same for large groups, page by page.
    LargeGroup,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// All five stages between a real log and a real store.
    #[command(after_help = "Examples:
  gochat bench chain --log embedded
  gochat bench chain --log kafka --brokers 127.0.0.1:19092
  gochat bench chain --messages 1000000 --partitions 8 --unfused
  gochat bench chain --log kafka --brokers 127.0.0.1:19092 --profile
  gochat bench chain --store postgres://gochat:gochat@127.0.0.1:19132/gochat")]
    Chain(ChainBenchArgs),
    /// One stage alone, without any I/O.
    #[command(after_help = "Examples:
  gochat bench stage dedupe
  gochat bench stage fan-out --records 2000000 --batch 4096")]
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
  gochat bench cache
  gochat bench cache --redis redis://127.0.0.1:19112     a server that nobody else uses: its memory is limited")]
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
    /// Which log.
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
    /// dedupe and id-assign in tasks of their own.
    #[arg(long)]
    pub unfused: bool,
    /// Each stage on threads of its own, so that the table of threads tells the stages apart.
    #[arg(long)]
    pub profile: bool,
    /// Where the data of the run is kept while it lasts [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogKind {
    /// On the local disk.
    Embedded,
    /// On Kafka.
    Kafka,
}

/// Arguments of `bench stage`.
#[derive(Debug, Args)]
pub struct StageBenchArgs {
    /// Which stage.
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
