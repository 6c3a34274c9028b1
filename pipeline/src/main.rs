//! The binary `gochat`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match pipeline::commands::execute(pipeline::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |e| e.source());
            let line: Vec<_> = causes.map(ToString::to_string).collect();
            eprintln!("gochat: {}", line.join(": "));
            ExitCode::FAILURE
        }
    }
}
