//! What the chain is measured against: the same records copied through as many hops by loops that look
//! at nothing. Over the same log where it is embedded; by librdkafka alone where it is Kafka, so that
//! what this project's own client costs shows as well.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::copy::copy;
use crate::delivered::STALL;
use crate::usage::{Stopwatch, Took};
use crate::workload::Workload;
use futures::{StreamExt, TryStreamExt, stream};
use schemas::records::Upstream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{ACCEPTED, DELIVERIES, Keyed, SEQUENCED, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::{Headers, HopTimes, Origin};
use topics::log::{Log, Outgoing, Reader, StartAt};

use super::CommandError;
use crate::args::ChainBenchArgs;
use pipeline::config::{Config, LogKind};
use pipeline::log::OpenLog;

/// Messages in one append of the feeder, and appends under way at once: as a busy gateway does it.
const FEED_RECORDS: usize = 1_000;
const FEED_APPENDS: usize = 4;

pub(super) fn named(log: LogKind) -> &'static str {
    match log {
        LogKind::Embedded => "bare copy through as many hops",
        LogKind::Kafka => "librdkafka, bare, as many hops",
    }
}

/// Copies the workload through these topics; returns the bytes of a record, and what it took.
///
/// # Errors
/// The log's.
pub(super) async fn copied(
    dir: &Path,
    args: &ChainBenchArgs,
    workload: &Workload,
    hops: &[&'static TopicSpec],
) -> Result<(u64, Took), CommandError> {
    std::fs::create_dir_all(dir)?;
    let config = args.log().config(dir);
    let open = OpenLog::open(&config, Clock::system()).await?;
    let log = open.log();
    let stop = CancellationToken::new();
    let mut copies = JoinSet::new();
    for hop in hops.windows(2) {
        match config.log.kind {
            LogKind::Embedded => {
                let copied = copy(log.clone(), hop[0], hop[1], args.batch, stop.clone());
                copies.spawn(async { Ok(copied.await?) });
            }
            LogKind::Kafka => copy_by_librdkafka(&mut copies, &config, args, [hop[0], hop[1]], &stop),
        }
    }
    let last = hops.last().copied().unwrap_or(&DELIVERIES.spec);
    let from: Vec<_> = (0..log.layout().partitions(last)).map(|partition| (partition, StartAt::Earliest)).collect();
    let mut arrivals = log.read(last, &from).await?;
    let warm_up = args.warm_up_messages();
    let work = async {
        feed(&log, workload, 0..warm_up).await?;
        arrived(&mut arrivals, warm_up).await?;
        let watch = Stopwatch::start();
        let bytes = feed(&log, workload, warm_up..warm_up + args.messages).await?;
        arrived(&mut arrivals, args.messages).await?;
        Ok::<_, CommandError>((bytes, watch.took()))
    };
    let (bytes, took) = tokio::select! {
        measured = work => measured?,
        Some(ended) = copies.join_next() => {
            ended??;
            return Err("a copy ended before the work was done".into());
        }
    };
    stop.cancel();
    while let Some(ended) = copies.join_next().await {
        ended??;
    }
    open.close().await;
    Ok((bytes / args.messages.max(1), took))
}

/// As many tasks as the stage has that makes this hop in the chain, with the same kind of commit.
#[cfg(feature = "kafka")]
fn copy_by_librdkafka(
    copies: &mut JoinSet<Result<(), CommandError>>,
    config: &Config,
    args: &ChainBenchArgs,
    [from, to]: [&'static TopicSpec; 2],
    stop: &CancellationToken,
) {
    let partitions = config.layout().partitions(from);
    for task in 0..u32::from(args.tasks).min(partitions) {
        let task = crate::kafka_copy::CopyTask {
            brokers: args.brokers.clone(),
            prefix: config.log.kafka.topic_prefix.clone(),
            from,
            partitions: (task..partitions).step_by(usize::from(args.tasks)).collect(),
            to,
            to_partitions: config.layout().partitions(to),
            // Up to id-assign, as the chain.
            transactional: [&ACCEPTED.spec, &SEQUENCED.spec].contains(&to),
            batch_records_max: args.batch,
        };
        let stop = stop.clone();
        copies.spawn_blocking(move || Ok(crate::kafka_copy::copy(&task, &stop)?));
    }
}

#[cfg(not(feature = "kafka"))]
fn copy_by_librdkafka(
    _copies: &mut JoinSet<Result<(), CommandError>>,
    _config: &Config,
    _args: &ChainBenchArgs,
    _hop: [&'static TopicSpec; 2],
    _stop: &CancellationToken,
) {
    unreachable!("without the feature no log of this kind could be opened")
}

/// Waits until so many records came.
async fn arrived(reader: &mut Reader, expected: u64) -> Result<(), CommandError> {
    let mut seen = 0;
    while seen < expected {
        let batch = reader.next_within(STALL).await?.ok_or("the copy stalled for 30 s")?;
        seen += batch.records.len() as u64;
    }
    Ok(())
}

/// Appends these messages of the workload as a busy gateway does; returns the bytes of their values.
///
/// # Errors
/// The log's.
pub(super) async fn feed(log: &Arc<dyn Log>, workload: &Workload, part: Range<u64>) -> Result<u64, CommandError> {
    let messages = workload.messages().skip(usize::try_from(part.start)?).take(usize::try_from(part.end - part.start)?);
    let appends = stream::iter(messages).chunks(FEED_RECORDS).map(|chunk| {
        let log = log.clone();
        async move {
            let records = encode(&chunk)?;
            let bytes: usize = records.iter().map(|record| record.value.len()).sum();
            log.append(records).await?;
            Ok::<_, CommandError>(bytes as u64)
        }
    });
    appends.buffered(FEED_APPENDS).try_fold(0, |sum, bytes| async move { Ok(sum + bytes) }).await
}

fn encode(messages: &[Upstream]) -> Result<Vec<Outgoing>, CommandError> {
    let now_ms = Clock::system().now_ms();
    let headers = Headers {
        origin: Some(Origin { slot: 0, epoch: 1, socket: 1 }),
        hops: Some(HopTimes::starting(now_ms)),
        ..Headers::default()
    };
    let mut encoder = Encoder::default();
    for message in messages {
        encoder.put(&UPSTREAM, &message.key(), message, headers.clone())?;
    }
    Ok(encoder.finish())
}
