//! Logs and metrics of the process.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, TelemetryConfig};
use crate::log_lines::{Flush, LogLines};

/// Telemetry that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "telemetry.filter {filter:?} is not a filter: {}. Use a level such as info, or levels by module such as info,topics=debug",
        schemas::causes::causes(.source)
    )]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the thread that writes the log could not be started")]
    Writer {
        #[source]
        source: std::io::Error,
    },
    #[error("metrics could not be set up")]
    Metrics {
        #[source]
        source: metrics_exporter_prometheus::BuildError,
    },
}

/// Connection pools warn of each broken connection and of each call that waited for one. The health watch logs once that
/// the store is down, and metrics show how long calls wait. The Kafka client reports that a fenced consumer can't be
/// closed. The configured filter may ask for more.
const QUIET_LIBRARIES: &str = "sqlx_core::pool=error,sqlx::pool=error,rdkafka::consumer::base_consumer=off";

/// Starts logging, once a process: JSON lines to stdout, or for people on a terminal. What it returns flushes
/// the log when it is dropped.
pub fn start_logs(config: &TelemetryConfig) -> Result<Flush, TelemetryError> {
    let unusable = |source| TelemetryError::Filter { filter: config.filter.clone(), source };
    EnvFilter::try_new(&config.filter).map_err(unusable)?;
    let filter = EnvFilter::try_new(format!("{QUIET_LIBRARIES},{}", config.filter)).map_err(unusable)?;
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stdout().is_terminal(),
    };
    let (lines, flush) = LogLines::to_stdout().map_err(|source| TelemetryError::Writer { source })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = if json { subscriber.json().flatten_event(true).try_init() } else { subscriber.try_init() };
    Ok(flush)
}

/// What a tool logs. The tool itself reports once that a broker is down: librdkafka and the wait for a broker would
/// repeat it.
const TOOL_FILTER: &str = "warn,librdkafka=off,topics::kafka::setup=error";

/// Starts logging of a tool, once a process: warnings and errors to stderr, since stdout is its result.
pub fn start_tool_logs() {
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(TOOL_FILTER)).with_writer(std::io::stderr);
    // Otherwise a failed write to stderr would be reported on stderr, and panic.
    let subscriber = subscriber.log_internal_errors(false);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = subscriber.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Upper bounds of the buckets of every histogram in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
/// Upper bounds of the buckets of every histogram that counts.
const COUNTS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// Starts metrics, once a process, and returns what renders them for Prometheus.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let failed = |source| TelemetryError::Metrics { source };
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_records".into()), COUNTS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)
}
