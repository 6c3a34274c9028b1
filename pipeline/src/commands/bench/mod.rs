//! `gochat bench`.

mod baseline;
mod cache;
mod chain;
mod connections;
mod installation;
mod server;
mod sockets;
mod stage;
mod store;

use crate::cli::BenchCommand;
use crate::commands::CommandError;

/// Measures until it is done, or until Ctrl-C: what it keeps on disk is then removed all the same.
///
/// # Errors
/// What to tell the user.
pub async fn run(command: BenchCommand) -> Result<(), CommandError> {
    let measured = async {
        match command {
            BenchCommand::Chain(args) => Box::pin(chain::chain(args)).await,
            BenchCommand::Cache(args) => Box::pin(cache::cache(&args)).await,
            BenchCommand::Store(args) => Box::pin(store::store(&args)).await,
            BenchCommand::Stage(args) => Box::pin(stage::stage(&args)).await,
            BenchCommand::Sockets(args) => Box::pin(sockets::sockets(&args)).await,
            BenchCommand::Connections(args) => Box::pin(connections::connections(&args)).await,
        }
    };
    tokio::select! {
        measured = measured => measured,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err("interrupted: nothing was measured to the end".into())
        }
    }
}
