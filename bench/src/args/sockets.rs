//! Arguments of the benchmarks that talk to an installation through sockets, as clients do.

use std::path::PathBuf;

use clap::Args;

use pipeline::config::LogKind;

use super::Fused;
use crate::log::BenchedLog;

/// Arguments of `bench sockets`.
#[derive(Debug, Args)]
pub struct SocketsBenchArgs {
    /// Which log.
    #[arg(long, value_enum, default_value = "embedded")]
    pub log: LogKind,
    /// The brokers, for the log kafka. Each run makes topics of its own, which stay.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:19092")]
    pub brokers: String,
    /// An installation that runs already, in place of one in this process. Its hops are not seen, and its
    /// own limits hold.
    #[arg(long, value_name = "URL", conflicts_with_all = ["log", "brokers", "partitions", "tasks", "fused", "dir"])]
    pub connect: Option<String>,
    /// How many users, each with one socket; they talk in pairs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    pub users: u32,
    /// Messages a second, of all users together, evenly spaced.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// For how many seconds messages count.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// For how many seconds before that they do not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub warm_up_seconds: u64,
    /// Bytes of content in a message; 195 make an upstream record of 256.
    #[arg(long, default_value_t = 195, value_parser = clap::value_parser!(u16).range(1..=8_192))]
    pub content_bytes: u16,
    /// Partitions of the chain topics.
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// Tasks of each stage.
    #[arg(long, default_value_t = 2)]
    pub tasks: u16,
    /// Which stages share a task; the default is the product's.
    #[arg(long, value_enum, default_value = "first")]
    pub fused: Fused,
    /// Where the data of the run is kept while it lasts [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl SocketsBenchArgs {
    /// The log that is asked for.
    pub fn log(&self) -> BenchedLog<'_> {
        BenchedLog { kind: self.log, brokers: &self.brokers, partitions: self.partitions }
    }
}

/// Examples of `bench sockets`.
pub const SOCKETS_EXAMPLES: &str = "Examples:
  bench sockets --rate 5000
  bench sockets --log kafka --brokers 127.0.0.1:19092
  bench sockets --connect http://127.0.0.1:8080 --users 20 --rate 50

Exit code 1 when a message that was due was not sent, acknowledged and delivered.";

/// Arguments of `bench connections`.
#[derive(Debug, Args)]
pub struct ConnectionsBenchArgs {
    /// How many sockets one gateway holds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=25_000))]
    pub connections: u32,
    /// For how many seconds they are held without a word, before each is asked whether it is still served.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=25))]
    pub hold_seconds: u64,
    /// Where the data of the run is kept while it lasts [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Examples of `bench connections`.
pub const CONNECTIONS_EXAMPLES: &str = "Examples:
  bench connections
  ulimit -n 30000; bench connections --connections 25000

Exit code 1 when a socket takes more than 8 KiB of the server's resident memory, or is not served.";
