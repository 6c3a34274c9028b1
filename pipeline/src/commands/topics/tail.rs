//! `gochat topics tail`.

use topics::clock::Clock;
use topics::log::{Log, StartAt};
use topics::tools::tail::{Choice, Tail};

use super::args::{Start, TailArgs};
use crate::commands::error::CommandError;
use crate::commands::output;
use crate::stop::stop_signal;

/// Prints records until there are no more, enough were printed, or Ctrl-C.
pub async fn tail(log: &dyn Log, args: TailArgs) -> Result<(), CommandError> {
    let otherwise = if args.follow { StartAt::Latest } else { StartAt::Earliest };
    let from = args.from.unwrap_or(Start::At(otherwise)).place(Clock::system().now_ms());
    let TailArgs { topic, partition, follow, key, conditions, .. } = args;
    let mut tail = Tail::open(log, topic, Choice { partition, from, follow, key, conditions }).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut stop = std::pin::pin!(stop_signal()?);
    while left > 0 {
        let records = tokio::select! {
            () = &mut stop => return Ok(()),
            records = tail.next() => records?,
        };
        let Some(records) = records else { return Ok(()) };
        for record in records.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            output::line(record)?;
            left -= 1;
        }
    }
    Ok(())
}
