//! The commands: each measures one thing and prints a report.

mod baseline;
mod cache;
mod chain;
mod connections;
mod installation;
mod sockets;
mod stage;
mod store;

use pipeline::stop::stop_signal;

use crate::args::Command;

/// What went wrong, with its causes.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Measures until it is done, or until Ctrl-C: what it keeps on disk is then removed all the same.
///
/// # Errors
/// What to tell the user.
pub fn run(command: Command) -> Result<(), CommandError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            measured = measured(command) => measured,
            () = stop_signal()? => Err("interrupted: nothing was measured to the end".into()),
        }
    })
}

async fn measured(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Chain(args) => Box::pin(chain::chain(args)).await,
        Command::Cache(args) => Box::pin(cache::cache(&args)).await,
        Command::Store(args) => Box::pin(store::store(&args)).await,
        Command::Stage(args) => Box::pin(stage::stage(&args)).await,
        Command::Sockets(args) => Box::pin(sockets::sockets(&args)).await,
        Command::Connections(args) => Box::pin(connections::connections(&args)).await,
    }
}
