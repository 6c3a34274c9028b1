//! `gochat topics tail`.

use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use topics::clock::Clock;
use topics::log::{Log, StartAt};
use topics::tools::tail::{self, Choice};

use super::args::{Start, TailArgs};
use crate::commands::error::CommandError;
use crate::commands::output;
use crate::stop::stop_signal;
use crate::topology;

/// Prints records until there are no more, enough were printed, or Ctrl-C.
pub async fn tail(log: &dyn Log, args: TailArgs) -> Result<(), CommandError> {
    let otherwise = if args.follow { StartAt::Latest } else { StartAt::Earliest };
    let from = args.from.unwrap_or(Start::At(otherwise)).place(Clock::system().now_ms());
    let TailArgs { topic, partition, follow, key, conditions, .. } = args;
    let hops = topology::hops().into();
    let choice = Choice { partition, from, follow, key, conditions, hops };
    let records = tail::tail(log, topic, choice).await?;
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut records = pin!(records.take_until(stop_signal()?).take(limit));
    while let Some(record) = records.try_next().await? {
        output::line(record)?;
    }
    Ok(())
}
