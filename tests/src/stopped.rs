//! What is done to an installation while it is stopped.

use std::path::Path;

use topics::catalogue::Layout;
use topics::clock::Clock;
use topics::embedded::{EmbeddedConfig, EmbeddedLog};
use topics::log::{Log, Outgoing};

/// Appends to its embedded log.
pub async fn append(data: &Path, records: Vec<Outgoing>) {
    let layout = Layout { chain_partitions: 8, gateway_slots: 16 };
    let log = EmbeddedLog::open(EmbeddedConfig::new(data.join("log"), layout), Clock::system()).expect("nobody has it");
    log.append(records).await.expect("the log takes records");
    log.close().await;
}
