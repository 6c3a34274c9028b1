//! How an embedded log is kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::{DEDUPE_WINDOW_DEFAULT, Layout};

/// How an embedded log is kept.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Its directory, for nothing else. Made when it is not there.
    pub dir: PathBuf,
    /// How many partitions topics have; fixed when the log is made.
    pub layout: Layout,
    /// How long repeats are recognised; fixed when the log is made.
    pub dedupe_window: Duration,
    /// Largest record: key, value and free headers.
    pub record_bytes_max: usize,
    /// Most bytes of records in one append or commit.
    pub call_bytes_max: usize,
    /// Bytes that may wait for the writer; over it callers wait.
    pub write_queue_bytes_max: usize,
    /// Bytes of newest records kept in memory, for each partition.
    pub tail_bytes_max_per_partition: usize,
    /// Connections for readers that are behind.
    pub read_connections_max: usize,
    /// Size that the file may grow to; over it [`LogError::DiskFull`](crate::log::LogError::DiskFull). `None`: the disk's.
    pub file_bytes_max: Option<u64>,
    /// The write-ahead log is copied into the database after about so many bytes.
    pub wal_bytes_target: usize,
    /// How often retention and compaction look for work.
    pub upkeep_interval: Duration,
    /// A partition is compacted once so many records are new, and they are at least half of all.
    pub compact_dirty_records_min: u64,
}

/// Most bytes of records in one append or commit, unless it is set otherwise.
pub const CALL_BYTES_MAX: usize = 16 << 20;

impl EmbeddedConfig {
    pub fn new(dir: impl Into<PathBuf>, layout: Layout) -> Self {
        Self {
            dir: dir.into(),
            layout,
            dedupe_window: DEDUPE_WINDOW_DEFAULT,
            record_bytes_max: 1 << 20,
            call_bytes_max: CALL_BYTES_MAX,
            write_queue_bytes_max: 64 << 20,
            tail_bytes_max_per_partition: 1 << 20,
            read_connections_max: 2,
            file_bytes_max: None,
            wal_bytes_target: 16 << 20,
            upkeep_interval: Duration::from_secs(10),
            compact_dirty_records_min: 10_000,
        }
    }
}
