//! The binary `gochat`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match pipeline::commands::execute(pipeline::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", pipeline::commands::explained(&error));
            ExitCode::FAILURE
        }
    }
}
