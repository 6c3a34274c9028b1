//! Arguments of the benchmark of a store by itself.

use std::path::PathBuf;

use clap::Args;

use pipeline::database_url::DatabaseUrl;

/// Arguments of `bench store`.
#[derive(Debug, Args)]
pub struct StoreBenchArgs {
    /// A database server, postgres://user:password@host:port/database or mysql://…: a database of the bench's
    /// own is made on it, and dropped in the end. Without it SQLite is measured.
    #[arg(long, value_name = "URL", value_parser = DatabaseUrl::of_server)]
    pub store: Option<DatabaseUrl>,
    /// How many messages are stored; the store writes half of them, and half are written bare.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub messages: u64,
    /// Bytes of content in each.
    #[arg(long, default_value_t = 195)]
    pub content_bytes: usize,
    /// Between how many conversations each half is spread.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub conversations: u64,
    /// Messages in a batch, which is a transaction.
    #[arg(long, default_value_t = 4_096, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub batch: usize,
    /// How many pages are read, one after the other.
    #[arg(long, default_value_t = 50_000)]
    pub reads: u64,
    /// Messages in a page.
    #[arg(long, default_value_t = 50, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=500))]
    pub page: usize,
    /// How many messages are stored one by one.
    #[arg(long, default_value_t = 2_000)]
    pub singles: u64,
    /// Fail when the store writes at less than so much of the bare rate.
    #[arg(long, default_value_t = 0.8)]
    pub ratio_min: f64,
    /// Fail when the store reads fewer pages a second.
    #[arg(long, default_value_t = 5_000.0)]
    pub reads_min: f64,
    /// Fail when one message in a hundred takes longer to store, in ms.
    #[arg(long, default_value_t = 5.0)]
    pub single_p99_ms_max: f64,
    /// Where SQLite's file is kept while the run lasts [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) const STORE_EXAMPLES: &str = "Examples:
  bench store
  bench store --store postgres://gochat:gochat@127.0.0.1:19132/gochat
  bench store --store mysql://gochat:gochat@127.0.0.1:19122/gochat --messages 200000";
