//! The embedded log: the contract, and what is its own.

mod directory;
mod former;
mod kill;
mod limits;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use topics::catalogue::Layout;
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::Log;

use crate::contract::{CHAIN_PARTITIONS, Harness, contract_tests};
use crate::timed::{TimedHarness, timed_contract_tests};

contract_tests!(fresh);
timed_contract_tests!(fresh);

/// Contract tests with no memory for records: everything is read from the database.
mod from_disk {
    use super::*;

    contract_tests!(fresh_without_memory);
    timed_contract_tests!(fresh_without_memory);
}

/// The layout of every log here.
pub const LAYOUT: Layout = Layout { chain_partitions: CHAIN_PARTITIONS, gateway_slots: 2 };

/// A configuration for tests: nothing happens in the background.
pub fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        upkeep_interval: Duration::from_secs(3_600),
        compact_dirty_records_min: 1,
        ..EmbeddedConfig::new(dir, LAYOUT)
    }
}

/// A log in a directory.
pub fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(config(dir), Clock::system()).unwrap()
}

struct EmbeddedHarness {
    dir: TempDir,
    clock: Clock,
    tail_bytes_max: usize,
    log: Option<Arc<EmbeddedLog>>,
}

impl EmbeddedHarness {
    fn new(tail_bytes_max: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let mut harness = Self { dir, clock: Clock::manual(1_800_000_000_000), tail_bytes_max, log: None };
        harness.open();
        harness
    }

    fn open(&mut self) {
        let config = EmbeddedConfig { tail_bytes_max_per_partition: self.tail_bytes_max, ..config(self.dir.path()) };
        self.log = Some(EmbeddedLog::open(config, self.clock.clone()).unwrap());
    }

    fn embedded(&self) -> Arc<EmbeddedLog> {
        Arc::clone(self.log.as_ref().expect("the log is open"))
    }
}

async fn fresh() -> EmbeddedHarness {
    EmbeddedHarness::new(1 << 20)
}

async fn fresh_without_memory() -> EmbeddedHarness {
    EmbeddedHarness::new(0)
}

#[async_trait]
impl Harness for EmbeddedHarness {
    fn log(&self) -> Arc<dyn Log> {
        self.embedded()
    }

    async fn reopen(&mut self) {
        self.log.take().expect("the log is open").close().await;
        self.open();
    }
}

#[async_trait]
impl TimedHarness for EmbeddedHarness {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn clean(&self) {
        self.embedded().maintain().await.unwrap();
    }
}
