//! `faults`: runs the fault harness. `tests/faults.sh` builds and calls it.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use tests::faults::backpressure;
use tests::faults::fault::{Kind, LogKind, StoreKind};
use tests::faults::run::{self, Options};
use topics::clock::Clock;

/// Breaks a GoChat installation under load, in every way there is, and judges what is left.
///
/// Everything is started on loopback, with its data in a temporary directory that is kept only when
/// something broke. Progress goes to stderr, the result to stdout.
#[derive(Debug, Parser)]
#[command(
    name = "tests/faults.sh",
    after_help = "\
Examples:
  tests/faults.sh                                       every kind of fault once, embedded log
  tests/faults.sh --log kafka                           the same on three brokers
  tests/faults.sh --minutes 30 --seed 7 --log kafka     half an hour of them
  tests/faults.sh --store postgres                      on a real PostgreSQL, which stands still and dies
  tests/faults.sh --log kafka --minutes 10 --only brokers-killed,broker-lost
                                                        only these, again and again
  tests/faults.sh --stopped-stage 300                   nobody stores anything for five minutes
Exit codes: 0 everything held, 1 an invariant broke or the harness could not go on, 2 wrong arguments"
)]
struct Arguments {
    /// How long; without it, until every kind of fault has come once.
    #[arg(long)]
    minutes: Option<f64>,
    /// Decides everything random. Without it, another one each time; it is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Instead of faults, persist stands still for so many seconds under load.
    #[arg(long, value_name = "SECONDS", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(10..=3_600))]
    stopped_stage: Option<u64>,
    /// Only faults of these kinds, comma-separated.
    #[arg(long, value_name = "KINDS", value_enum, value_delimiter = ',', conflicts_with = "stopped_stage")]
    only: Vec<Kind>,
    /// The log to run on.
    #[arg(long, value_enum, default_value = "embedded")]
    log: LogKind,
    /// The store. A server is started for it, and installed when it is missing.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,
    /// Persist and fan-out share a task; the processes of either run both.
    #[arg(long, conflicts_with = "stopped_stage")]
    fused: bool,
    /// Messages a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Connected users.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(6..=400))]
    users: u16,
    /// Where data and logs go.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What a kind is called on the command line.
fn name(kind: Kind) -> String {
    kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The command that plays the same again.
fn command_of(arguments: &Arguments, seed: u64) -> String {
    let log = match arguments.log {
        LogKind::Embedded => "embedded",
        LogKind::Kafka => "kafka",
    };
    let store = match arguments.store {
        StoreKind::Sqlite => "",
        StoreKind::Mariadb => " --store mariadb",
        StoreKind::Postgres => " --store postgres",
    };
    let stopped = arguments.stopped_stage.map(|seconds| format!(" --stopped-stage {seconds}")).unwrap_or_default();
    let minutes = arguments.minutes.map(|minutes| format!(" --minutes {minutes}")).unwrap_or_default();
    let impossible = arguments.only.iter().find(|kind| !Kind::of(arguments.log, arguments.store).contains(kind));
    if let Some(kind) = impossible {
        let what = format!("\"{kind}\" can't happen on the {log} log with this store: choose others for --only");
        Arguments::command().error(ErrorKind::ValueValidation, what).exit();
    }
    let only = match arguments.only.as_slice() {
        [] => String::new(),
        kinds => format!(" --only {}", kinds.iter().map(|kind| name(*kind)).collect::<Vec<_>>().join(",")),
    };
    let fused = if arguments.fused { " --fused" } else { "" };
    let Arguments { rate, users, .. } = arguments;
    format!(
        "tests/faults.sh --log {log}{store}{fused} --seed {seed}{minutes}{only}{stopped} --rate {rate} --users {users}"
    )
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| Clock::system().now_ms().unsigned_abs() % 1_000_000_007);
    let repeat = command_of(&arguments, seed);
    println!("seed {seed}");
    let base = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let dir = match tempfile::Builder::new().prefix("gochat-faults-").tempdir_in(&base) {
        Ok(dir) => dir,
        Err(e) => {
            eprintln!("{} can't be written ({e}): choose another directory with --dir", base.display());
            return ExitCode::FAILURE;
        }
    };
    let options = Options {
        log: arguments.log,
        store: arguments.store,
        fused: arguments.fused,
        time: arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
        only: arguments.only,
        seed,
        rate: arguments.rate,
        users: arguments.users.into(),
        dir: dir.path().to_owned(),
        stopped_stage: arguments.stopped_stage.map(Duration::from_secs),
        repeat: repeat.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let outcome = runtime.block_on(async {
        let running = tokio::spawn(async move {
            match options.stopped_stage {
                None => run::run(&options).await,
                Some(time) => backpressure::run(&options, time).await,
            }
        });
        let stop = running.abort_handle();
        tokio::select! {
            ended = running => Some(ended),
            _ = tokio::signal::ctrl_c() => {
                stop.abort();
                None
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    match outcome {
        None => {
            eprintln!("interrupted; it is started again by: {repeat}");
            ExitCode::FAILURE
        }
        Some(Ok(report)) => {
            println!("{report}");
            if report.holds() {
                return ExitCode::SUCCESS;
            }
            println!("data and logs are kept in {}", dir.keep().display());
            ExitCode::FAILURE
        }
        Some(Err(e)) => {
            println!("the harness could not go on: {e}\nit is repeated by: {repeat}");
            println!("data and logs are kept in {}", dir.keep().display());
            ExitCode::FAILURE
        }
    }
}
