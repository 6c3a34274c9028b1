//! `gochat check`: the auditor, once or forever.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gateway::{Operations, Readiness};
use serde_json::json;
use stages::repo::store::Store;
use topics::clock::Clock;
use topics::log::Log;

use super::args::{LogArgs, length_of_time, pause};
use super::error::{CommandError, explained};
use super::output;
use crate::audit::{Findings, IDENTITIES_MAX, Scope, audit};
use crate::config::{Address, Config};
use crate::listen::listen;
use crate::log::OpenLog;
use crate::stop::stop_signal;
use crate::{store, telemetry};

/// Examples of `gochat check --help`.
pub const CHECK_EXAMPLES: &str = "Examples:
  gochat check                                   ./data, also beside a running process
  gochat check --json --since 2h
  gochat check --config deployment/config/kafka.toml
  gochat check --follow --metrics 127.0.0.1:9464  for ever, with metrics for Prometheus

Exit code: 0 everything that was looked at holds, 1 something is broken, 2 it could not be looked at.";

/// Violations that `--follow` remembers, so as to print each once.
const TOLD_MAX: usize = 10_000;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which installation.
    #[command(flatten)]
    pub log: LogArgs,
    /// Look once (the default).
    #[arg(long, conflicts_with = "follow")]
    pub once: bool,
    /// Look again and again, until Ctrl-C.
    #[arg(long)]
    pub follow: bool,
    /// Only what came so long ago or later, such as 90s, 30m, 2h, 7d [default: everything, or 1h with
    /// --follow].
    #[arg(long, value_name = "TIME", value_parser = length_of_time)]
    pub since: Option<Duration>,
    /// How long to wait between two looks.
    #[arg(long, value_name = "TIME", value_parser = pause, default_value = "30s")]
    pub every: Duration,
    /// Serve metrics for Prometheus at this address, with --follow.
    #[arg(long, value_name = "HOST:PORT", requires = "follow")]
    pub metrics: Option<Address>,
    /// Records that may wait for one group [default: twice gateway.limits.busy_lag_records_max, since the
    /// gateway looks each second].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub lag_max: Option<u64>,
    /// Messages held in memory at once, 8 bytes each; more are looked at in several passes.
    #[arg(long, value_name = "N", default_value_t = IDENTITIES_MAX, allow_negative_numbers = true)]
    pub messages_max: u64,
    /// As JSON; with --follow one object a look.
    #[arg(long)]
    pub json: bool,
}

/// Whether everything that was looked at holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Holds,
    /// Something is broken.
    Broken,
}

/// The exit code of an outcome; an error is printed, and is 2.
pub fn exit_code(outcome: Result<Outcome, CommandError>) -> ExitCode {
    match outcome {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::Broken) => ExitCode::from(1),
        Err(error) if output::is_gone(&error) => ExitCode::from(output::GONE),
        Err(error) => {
            output::note(format_args!("{}", explained(&error)));
            ExitCode::from(2)
        }
    }
}

/// Looks, and says what was found.
pub async fn check(args: CheckArgs) -> Result<Outcome, CommandError> {
    telemetry::start_tool_logs();
    let config = args.log.config()?;
    let open = OpenLog::attach(&config).await?;
    let store = store::attach(&config).await?;
    let log = open.log();
    let lag_max = args.lag_max.unwrap_or(config.gateway.limits.busy_lag_records_max.saturating_mul(2));
    let scope = whole(&config, &open, lag_max, args.messages_max);
    let outcome = if args.follow {
        follow(&*log, &*store, &scope, &args).await
    } else {
        let scope = recent(&scope, args.since);
        let looking = |what: &str| output::note(format_args!("looking at {what} …"));
        let findings = tokio::select! {
            findings = audit(&*log, &*store, &scope, looking) => findings?,
            () = stop_signal()? => return Err("it was stopped before everything was looked at".into()),
        };
        print(&findings, args.json)?;
        Ok(if findings.hold() { Outcome::Holds } else { Outcome::Broken })
    };
    drop(log);
    open.close().await;
    outcome
}

/// All of an installation, as of now. The window is that of the log, not of this configuration: clients were told the
/// log's.
pub fn whole(config: &Config, open: &OpenLog, lag_records_max: u64, identities_max: u64) -> Scope {
    Scope {
        now_ms: Clock::system().now_ms(),
        since_ms: None,
        dedupe_window_ms: ms(open.dedupe_memory(config)),
        lag_records_max,
        identities_max,
        fuse: config.stages.fuse(),
    }
}

/// The same as of now, and only what came so long ago or later.
fn recent(scope: &Scope, since: Option<Duration>) -> Scope {
    let now_ms = Clock::system().now_ms();
    Scope { now_ms, since_ms: since.map(|since| now_ms.saturating_sub(ms(since))), ..scope.clone() }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Prints findings for people, or as JSON.
pub fn print(findings: &Findings, json: bool) -> Result<(), CommandError> {
    if json {
        return Ok(output::line(serde_json::to_string_pretty(&findings.to_json())?)?);
    }
    let verdict = |looked_at, violations| match (looked_at, violations) {
        (_, 1..) => "BROKEN",
        (0, 0) => "not looked at",
        (1.., 0) => "holds",
    };
    let rows: Vec<_> = findings
        .verdicts()
        .map(|(invariant, found)| {
            let word = verdict(found.looked_at, found.violations).to_owned();
            let (looked_at, violations) = (found.looked_at.to_string(), found.violations.to_string());
            [invariant.name().to_owned(), word, looked_at, violations, invariant.meaning().to_owned()]
        })
        .collect();
    output::table(["INVARIANT", "VERDICT", "LOOKED AT", "VIOLATIONS", "WHICH IS"], &rows)?;
    for (invariant, found) in findings.verdicts() {
        if let Some(first) = &found.first {
            output::line(format_args!("\n{invariant} is broken, first at {}:\n  {}", first.location, first.what))?;
        }
    }
    for (invariant, found) in findings.verdicts() {
        for note in &found.notes {
            output::line(format_args!("\n{invariant}: {note}"))?;
        }
    }
    Ok(())
}

/// Audits recent records again and again. A failed audit is reported, and tried again.
async fn follow(log: &dyn Log, store: &dyn Store, scope: &Scope, args: &CheckArgs) -> Result<Outcome, CommandError> {
    const SINCE: Duration = Duration::from_secs(3_600);
    let serving = match &args.metrics {
        Some(address) => {
            let (listener, at) = listen(address, "--metrics").await?;
            output::note(format_args!("metrics at http://{at}/metrics"));
            Some((listener, telemetry::start_metrics()?))
        }
        None => None,
    };
    let served = async {
        match serving {
            Some((listener, metrics)) => {
                let ready = || Readiness { ready: true, lines: String::new() };
                let render_metrics = Arc::new(move || metrics.render());
                Operations { render_metrics, health: Arc::new(ready) }.serve(listener).await
            }
            None => std::future::pending().await,
        }
    };
    let since = args.since.unwrap_or(SINCE);
    let mut told: HashSet<String> = HashSet::new();
    let looks = async {
        loop {
            match audit(log, store, &recent(scope, Some(since)), |_| {}).await {
                Ok(findings) => tell(&findings, &mut told, args.json)?,
                Err(error) => {
                    metrics::counter!("gochat_audit_failures_total").increment(1);
                    output::note(format_args!("{}; it is tried again", explained(&error.into())));
                }
            }
            tokio::time::sleep(args.every).await;
        }
    };
    tokio::select! {
        () = stop_signal()? => Ok(()),
        Err(error) = served => Err(error.into()),
        failed = looks => failed,
    }
    .map(|()| if told.is_empty() { Outcome::Holds } else { Outcome::Broken })
}

/// Counts what was found, and prints what is new.
fn tell(findings: &Findings, told: &mut HashSet<String>, json: bool) -> Result<(), CommandError> {
    let mut news = Vec::new();
    for (invariant, found) in findings.verdicts() {
        let name = invariant.name();
        metrics::counter!("gochat_audit_looked_at_total", "invariant" => name).increment(found.looked_at);
        metrics::gauge!("gochat_audit_violations", "invariant" => name).set(found.violations as f64);
        metrics::counter!("gochat_audit_violations_total", "invariant" => name).increment(0);
        let Some(first) = &found.first else { continue };
        let text = format!("{invariant} is broken at {}: {}", first.location, first.what);
        if told.len() < TOLD_MAX && told.insert(text.clone()) {
            metrics::counter!("gochat_audit_violations_total", "invariant" => name).increment(found.violations);
            news.push(text);
        }
    }
    metrics::counter!("gochat_audit_looks_total").increment(1);
    if json {
        let time = output::time(Clock::system().now_ms());
        return Ok(output::line(json!({"time": time, "findings": findings.to_json()}))?);
    }
    for text in news {
        output::line(format_args!("{} {text}", output::time(Clock::system().now_ms())))?;
    }
    Ok(())
}
