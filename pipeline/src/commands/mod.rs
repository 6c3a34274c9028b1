//! What the command line asks for.

pub mod bench;

use clap::ValueEnum;
use tokio::time::Instant;

use crate::cli::{BenchCommand, Cli, Command, Role, RunArgs};
use crate::config::Config;
use crate::{process, telemetry};

/// What went wrong, with its causes.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Does what the command line asks for.
///
/// # Errors
/// What to tell the user.
pub fn execute(cli: Cli) -> Result<(), CommandError> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => runtime.block_on(run(args, started)),
        Command::Bench(BenchCommand::Chain(args)) => runtime.block_on(bench::chain(args)),
        Command::Bench(BenchCommand::Stage(args)) => runtime.block_on(bench::stage(&args)),
    }
}

async fn run(args: RunArgs, started: Instant) -> Result<(), CommandError> {
    let mut config = Config::load(args.config.as_deref())?;
    config.data_dir = args.data.unwrap_or(config.data_dir);
    config.gateway.listen = args.http.unwrap_or(config.gateway.listen);
    config.repo.listen = args.grpc.unwrap_or(config.repo.listen);
    config.check()?;
    telemetry::start_logs(&config.telemetry)?;
    let mut roles = args.roles;
    if roles.is_empty() {
        roles = Role::value_variants().to_vec();
    } else {
        tracing::warn!(?roles, "the embedded log lives in this process: roles that are left out run nowhere");
    }
    Ok(process::run(config, &roles, started).await?)
}
