//! `hostile`: attacks a server as one client can. `tests/hostile.sh` builds and calls it.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tests::faults::fault::LogKind;
use tests::hostile::{Attack, HEAD, Size, play};
use tests::open_files::raise_limit;

/// Attacks a server as one client can, and compares what the others notice with the time before.
#[derive(Debug, Parser)]
#[command(
    name = "tests/hostile.sh",
    after_help = "\
Examples:
  tests/hostile.sh                         every attack, as large as it once took to bring the service down
  tests/hostile.sh --bounded sync flood    these two, as large as a test has time for
  tests/hostile.sh --log kafka             on Kafka, which GOCHAT_TEST_KAFKA names
Exit codes: 0 all bounds held, 1 one did not, 2 wrong arguments"
)]
struct Arguments {
    /// The attacks to play; without any, all.
    #[arg(value_enum)]
    attacks: Vec<Attack>,
    /// Smaller attacks, some 12 s each.
    #[arg(long)]
    bounded: bool,
    /// The log to run on.
    #[arg(long, value_enum, default_value = "embedded")]
    log: LogKind,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    raise_limit();
    let size = if arguments.bounded { Size::Bounded } else { Size::Full };
    let attacks = if arguments.attacks.is_empty() { Attack::value_variants() } else { &arguments.attacks };
    println!("{HEAD}");
    let mut broken = Vec::new();
    for &attack in attacks {
        let (row, beyond) = play(attack, size, arguments.log).await;
        println!("{row}");
        broken.extend(beyond);
    }
    broken.iter().for_each(|what| println!("{what}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
