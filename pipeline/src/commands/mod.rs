//! What the command line asks for.

pub mod args;
pub mod check;
mod error;
pub mod output;
pub mod rebuild;
pub mod rebuild_cache;
pub mod topics;

use std::process::ExitCode;

use clap::CommandFactory;
use tokio::time::Instant;

pub use self::error::{CommandError, explained};
use self::rebuild::RebuildCommand;
use crate::cli::{Cli, Command, CompletionsArgs, RunArgs};
use crate::config::{Config, LogKind};
use crate::log_lines::Flush;
use crate::role::Role;
use crate::{process, telemetry};

/// Does what the command line asks for.
///
/// Returns the exit code of what was done.
///
/// # Errors
/// What to tell the user; the exit code is 1 then.
pub fn execute(cli: Cli) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    // Dropped, and so flushed, after the runtime.
    let mut log = None;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => runtime.block_on(run(args, started, &mut log)),
        Command::Topics(args) => runtime.block_on(topics::topics(args)),
        Command::Check(args) => return Ok(check::exit_code(runtime.block_on(check::check(args)))),
        Command::Rebuild(RebuildCommand::Store(args)) => {
            return Ok(check::exit_code(runtime.block_on(rebuild::store(args))));
        }
        Command::Completions(args) => completions(&args),
        Command::Rebuild(RebuildCommand::Cache(args)) => runtime.block_on(rebuild_cache::rebuild_cache(args)),
    };
    match done {
        Err(error) if output::is_gone(&error) => Ok(ExitCode::from(output::GONE)),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

/// Prints clap's own answer: help, the version, or what is wrong with the command line.
pub fn answer(told: &clap::Error) -> ExitCode {
    match told.print() {
        Ok(()) => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(u8::MAX)),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(output::GONE),
        Err(error) => {
            output::note(format_args!("gochat: what was asked for can't be written: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gochat", &mut script);
    Ok(output::line(String::from_utf8(script)?.trim_end())?)
}

async fn run(args: RunArgs, started: Instant, log: &mut Option<Flush>) -> Result<(), CommandError> {
    let mut loaded = Config::load(args.config.as_deref())?;
    loaded.option(("--data", "data_dir"), args.data, |config| &mut config.data_dir);
    loaded.option(("--http", "gateway.listen"), args.http, |config| &mut config.gateway.listen);
    loaded.option(("--grpc", "repo.listen"), args.grpc, |config| &mut config.repo.listen);
    let metrics = args.metrics.map(Some);
    loaded.option(("--metrics", "telemetry.metrics_listen"), metrics, |config| &mut config.telemetry.metrics_listen);
    loaded.option(("--instance", "instance"), args.instance, |config| &mut config.instance);
    loaded.option(("--slot", "gateway.slot"), args.slot, |config| &mut config.gateway.slot);
    let config = loaded.checked()?;
    *log = Some(telemetry::start_logs(&config.telemetry)?);
    let roles = roles(&config, &args.roles, args.instance, args.slot)?;
    Ok(process::run(config, &roles, started).await?)
}

/// The roles of this process; refused when they could collide with another process.
fn roles(config: &Config, named: &[Role], instance: Option<u16>, slot: Option<u32>) -> Result<Vec<Role>, CommandError> {
    if named.is_empty() {
        return Ok(Role::all().collect());
    }
    match config.log.kind {
        LogKind::Embedded => {
            tracing::warn!(roles = ?named, "the embedded log lives in this process: roles left out run nowhere");
        }
        LogKind::Kafka if instance.is_none() => {
            return Err("roles in processes of their own need --instance N, another N in each".into());
        }
        LogKind::Kafka if named.contains(&Role::Gateway) && slot.is_none() => {
            return Err("a gateway beside others needs --slot N, another N for each gateway".into());
        }
        LogKind::Kafka => {}
    }
    Ok(named.to_vec())
}
