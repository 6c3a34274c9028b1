//! The command line of `gochat topics`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use schemas::avro::AvroError;
use topics::catalogue::{self, TopicSpec};
use topics::dead_letter::UNCLASSIFIED;
use topics::log::StartAt;
use topics::tools::condition::Condition;
use topics::tools::dead_letters::Selection;

use crate::commands::args::{LogArgs, length_of_time};

/// Arguments of `topics`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// Which installation.
    #[command(flatten)]
    pub log: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: TopicsCommand,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Every topic: what it carries, how much it holds, and how far its readers are.
    #[command(after_help = "Examples:
  gochat topics list                                  of ./data, also beside a running process
  gochat topics list --data /var/lib/gochat --json
  gochat topics list --brokers 127.0.0.1:19092")]
    List(ListArgs),
    /// One topic, partition by partition.
    #[command(after_help = "Examples:
  gochat topics describe sequenced-messages
  gochat topics describe dead-letters --config deployment/config/kafka.toml")]
    Describe(DescribeArgs),
    /// Records of a topic as JSON, one a line.
    #[command(after_help = "Examples:
  gochat topics tail sequenced-messages --follow
  gochat topics tail sequenced-messages --where conversation_id=world --where seq_id=7
  gochat topics tail downstream-deliveries --from -5m --where sender_id=3 | jq .value.recipients
  gochat topics tail upstream-messages --partition 3 --from 1200 --limit 10
  gochat topics tail conversation-heads --key group_12 --from 2026-01-31T12:00:00Z")]
    Tail(TailArgs),
    /// Records that could not be read: who met them, why, and putting them back.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

/// Arguments of `topics list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `topics describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The topic.
    #[arg(value_parser = topic())]
    pub topic: &'static TopicSpec,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `topics tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The topic.
    #[arg(value_parser = topic())]
    pub topic: &'static TopicSpec,
    /// Where to start: earliest, latest, an offset, a time (2026-01-31T12:00:00Z), or how long ago (-90s,
    /// -5m, -2h, -1d) [default: earliest, or latest with --follow]. An offset that is not kept any more starts
    /// at the oldest that is.
    #[arg(long, value_name = "WHERE", value_parser = Start::parse, allow_hyphen_values = true)]
    pub from: Option<Start>,
    /// Only this partition.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub partition: Option<u32>,
    /// Stop after so many records.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub limit: Option<u64>,
    /// Go on with what comes, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only records with this key.
    #[arg(long)]
    pub key: Option<String>,
    /// Only records of which a field has this value, as it is printed, or a list holds it; may be given more
    /// than once. A field of the message inside a delivery or task may be named without `message.`.
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub conditions: Vec<Condition>,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// How many there are, by source topic and reason.
    #[command(after_help = "Examples:
  gochat topics dead-letters list
  gochat topics dead-letters list --source sequenced-messages --json")]
    List(LettersArgs),
    /// Letters in full: why, from where, and the bytes as they came.
    #[command(after_help = "Examples:
  gochat topics dead-letters show 17                 the letter at offset 17
  gochat topics dead-letters show --reason unknown-schema --limit 3 --json")]
    Show(ShowArgs),
    /// Put letters back into the topic they came from: each once, however often this is run.
    #[command(after_help = "Examples:
  gochat topics dead-letters redrive --reason unknown-schema            says what it would do
  gochat topics dead-letters redrive --reason unknown-schema --apply    does it
  gochat topics dead-letters redrive --offset 17 --offset 18 --apply

Without --apply nothing is changed. The embedded log has one writer: stop the process that uses the data
directory first.")]
    Redrive(RedriveArgs),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Only those with this reason (an error class that `list` shows).
    #[arg(long, value_name = "REASON", value_parser = reason())]
    pub reason: Option<String>,
    /// Only those that came from this topic.
    #[arg(long, value_name = "TOPIC", value_parser = topic())]
    pub source: Option<&'static TopicSpec>,
    /// Only those at this offset of dead-letters; may be given more than once.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub offset: Vec<u64>,
}

impl SelectArgs {
    /// What was chosen.
    pub fn selection(&self) -> Selection {
        Selection { class: self.reason.clone(), topic: self.source, offsets: self.offset.clone(), partition: None }
    }
}

/// Arguments of `topics dead-letters list`.
#[derive(Debug, Args)]
pub struct LettersArgs {
    /// Which.
    #[command(flatten)]
    pub select: SelectArgs,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `topics dead-letters show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The letters at these offsets of dead-letters.
    #[arg(value_name = "OFFSET")]
    pub offsets: Vec<u64>,
    /// Which.
    #[command(flatten)]
    pub select: SelectArgs,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20, allow_negative_numbers = true)]
    pub limit: usize,
    /// As JSON, one letter a line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `topics dead-letters redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    /// Which.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Do it, instead of saying what would be done.
    #[arg(long)]
    pub apply: bool,
}

/// Where to start, as it is said on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A place that needs no clock.
    At(StartAt),
    /// So many ms ago.
    Ago(i64),
}

impl Start {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::At(StartAt::Earliest)),
            "latest" => return Ok(Self::At(StartAt::Latest)),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::At(StartAt::Offset(offset)));
        }
        if let Some(ms) = schemas::time::parse_rfc3339(text) {
            return Ok(Self::At(StartAt::Time(ms)));
        }
        let ago = || i64::try_from(length_of_time(text.strip_prefix('-')?).ok()?.as_millis()).ok();
        ago().map(Self::Ago).ok_or_else(|| {
            "it is earliest, latest, an offset, a time such as 2026-01-31T12:00:00Z, or how long ago, such as -5m"
                .into()
        })
    }

    /// The place, at this time (ms since 1970 UTC).
    pub fn place(self, now_ms: i64) -> StartAt {
        match self {
            Self::At(place) => place,
            Self::Ago(ms) => StartAt::Time(now_ms.saturating_sub(ms)),
        }
    }
}

/// A topic by its name; clap says which there are, and which is nearest.
fn topic() -> impl TypedValueParser<Value = &'static TopicSpec> {
    PossibleValuesParser::new(catalogue::ALL.iter().map(|topic| topic.name))
        .try_map(|name| catalogue::by_name(&name).ok_or("there is no such topic"))
}

/// An error class, or what letters of the first version are shown as.
fn reason() -> PossibleValuesParser {
    PossibleValuesParser::new(AvroError::CLASSES.into_iter().chain([UNCLASSIFIED]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_an_offset_a_time_or_how_long_ago() {
        let known = [
            ("earliest", Start::At(StartAt::Earliest)),
            ("latest", Start::At(StartAt::Latest)),
            ("17", Start::At(StartAt::Offset(17))),
            ("1970-01-01T00:00:01Z", Start::At(StartAt::Time(1_000))),
            ("-5m", Start::Ago(300_000)),
        ];
        for (text, start) in known {
            assert_eq!(Start::parse(text), Ok(start), "{text}");
        }
        for text in ["", "-", "-5", "m", "-5y", "--5m", "soon", "-9223372036854775807d", "-5\u{20ac}"] {
            assert!(Start::parse(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(Start::Ago(300_000).place(1_000_000), StartAt::Time(700_000));
    }
}
