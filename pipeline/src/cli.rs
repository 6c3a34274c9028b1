//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::check::{CHECK_EXAMPLES, CheckArgs};
use crate::commands::rebuild::RebuildCommand;
use crate::commands::topics::args::TopicsArgs;
use crate::config::Address;
use crate::role::Role;

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
const VERSION: &str = env!("BUILD_VERSION");

const ABOUT: &str = "An instant-messaging backend as a stream-processing pipeline";

const RUN_EXAMPLES: &str = "Examples:
  gochat                                    everything in this process, data in ./data, page at http://127.0.0.1:8080
  gochat run --data /var/lib/gochat --http 0.0.0.0:80
  gochat run --config deployment/config/kafka.toml --roles dedupe,id-assign,persist,fan-out,large-group --instance 1
  gochat run --config deployment/config/kafka.toml --roles gateway --instance 2 --slot 1
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
    /// Rebuild views of the log.
    #[command(subcommand)]
    Rebuild(RebuildCommand),
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
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<Address>,
    /// Address of gRPC [default: 127.0.0.1:9090]; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<Address>,
    /// Address where metrics can be scraped at /metrics [default: none]; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<Address>,
    /// What to run here, separated by commas [default: all]. On Kafka the rest runs in other processes.
    #[arg(long, value_name = "ROLES", value_parser = Role::parser(), value_delimiter = ',')]
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
