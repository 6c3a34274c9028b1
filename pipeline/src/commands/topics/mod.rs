//! `gochat topics`: looks at what the topics hold, on either log, also beside running processes.

pub mod args;
mod dead_letters;
mod overview;
mod tail;

use self::args::{DeadLettersCommand, TailArgs, TopicsArgs, TopicsCommand};
use crate::commands::error::CommandError;
use crate::log::OpenLog;
use crate::telemetry;

/// Does what was asked.
pub async fn topics(args: TopicsArgs) -> Result<(), CommandError> {
    telemetry::start_tool_logs();
    let config = args.log.config()?;
    if let TopicsCommand::Tail(TailArgs { topic, conditions, .. }) = &args.command {
        conditions.iter().try_for_each(|condition| condition.check(topic))?;
    }
    if let TopicsCommand::DeadLetters(DeadLettersCommand::Redrive(args)) = &args.command {
        return dead_letters::redrive(&config, args).await;
    }
    let open = OpenLog::attach(&config).await?;
    let log = open.log();
    let done = match args.command {
        TopicsCommand::List(args) => overview::list(&*log, &args).await,
        TopicsCommand::Describe(args) => overview::describe(&*log, &args).await,
        TopicsCommand::Tail(args) => tail::tail(&*log, args).await,
        TopicsCommand::DeadLetters(DeadLettersCommand::List(args)) => dead_letters::list(&*log, &args).await,
        TopicsCommand::DeadLetters(DeadLettersCommand::Show(args)) => dead_letters::show(&*log, &args).await,
        TopicsCommand::DeadLetters(DeadLettersCommand::Redrive(_)) => Ok(()), // above
    };
    open.close().await;
    done
}
