//! The binary `gochat`.

use std::process::ExitCode;

use clap::Parser;
use pipeline::cli::Cli;
use pipeline::commands::{self, output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return commands::answer(&told),
    };
    match commands::execute(cli) {
        Ok(code) => code,
        Err(error) => {
            output::note(commands::explained(&error));
            ExitCode::FAILURE
        }
    }
}
