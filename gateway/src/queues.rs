//! Metrics of the gateway's queues: each second how many wait, and how many may.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use topics::queue_metrics;

use crate::edge::Edge;

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Reports until `stop`.
pub async fn report(edge: Arc<Edge>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (waiting, limit) = edge.appender.waiting();
        queue_metrics::set("gateway-append-records", waiting, limit);
        // The longest queue of all sockets.
        queue_metrics::set("gateway-socket-frames", edge.sessions.longest_queue(), edge.config.send_queue_frames_max);
        // The bytes of all queues together.
        queue_metrics::set("gateway-sockets-bytes", edge.send_bytes.used(), edge.config.send_queues_bytes_max);
        let limit = edge.config.heads_concurrent_max.max(1);
        queue_metrics::set("gateway-heads-calls", limit.saturating_sub(edge.heads_permits.available_permits()), limit);
    }
}
