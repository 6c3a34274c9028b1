//! `bench`: measures GoChat, stage by stage and as a whole. A program of its own, so that the product links nothing
//! that only measures.
//!
//! Everything here is seeded and bounded. Figures are ratios to a baseline of the same run wherever there is one:
//! machines differ, and most are shared.

mod args;
mod bare_sql;
mod cache;
mod client;
mod commands;
mod copy;
mod delivered;
mod held;
mod hops;
#[cfg(feature = "kafka")]
mod kafka_copy;
mod latency;
mod limits;
mod log;
mod report;
mod scratch;
mod stage;
mod store;
mod talk;
mod threads;
mod usage;
mod workload;
mod zipf;

use std::process::ExitCode;

use clap::Parser;
use pipeline::commands::output;
use schemas::causes::causes;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return pipeline::commands::answer(&told),
    };
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_gone(&error) => ExitCode::from(output::GONE),
        Err(error) => {
            output::note(format_args!("bench: {}", causes(&*error)));
            ExitCode::FAILURE
        }
    }
}
