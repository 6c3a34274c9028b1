//! `gochat bench chain`: messages a second from upstream to downstream, through all five stages, a
//! real log and a real store; beside it the same records copied through as many hops by loops that
//! look at nothing: over the same log where it is embedded, by bare librdkafka where it is Kafka.

use std::path::Path;
use std::sync::Arc;

use bench::copy::copy;
use bench::delivered::{Watch, next_records};
use bench::report::Report;
use bench::threads::{NamedThreads, ThreadTimes, ThreadsTook};
use bench::usage::{Stopwatch, Took};
use bench::workload::Workload;
use clap::ValueEnum;
use futures::{StreamExt, TryStreamExt, stream};
use schemas::avro::PresenceEvent;
use schemas::ids::GroupId;
use schemas::records::{Heartbeat, Presence, Upstream};
use stages::membership::{Membership, MembershipSource};
use stages::presence::SharedPresence;
use stages::repo::sqlite::{SqliteConfig, SqliteStore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{ACCEPTED, DELIVERIES, Keyed, PERSISTED, SEQUENCED, TopicSpec, UPSTREAM};
use topics::clock::Clock;
use topics::codec::Encoder;
use topics::headers::{Headers, HopTimes, Origin};
use topics::log::{Log, Outgoing};

use super::installation::BenchedLog;
use super::print;
use crate::cli::{self, ChainBenchArgs, Role};
use crate::commands::CommandError;
use crate::config::{Config, LogKind};
use crate::log::OpenLog;
use crate::runner::{RunnerConfig, Surroundings};
use crate::tasks::StageTasks;
use crate::topology::{self, StageRole};

/// Gateways that the users are connected to.
const SLOTS: u32 = 2;
/// Messages in one append of the feeder, and appends under way at once: as a busy gateway does it.
const FEED_RECORDS: usize = 1_000;
const FEED_APPENDS: usize = 4;
/// One message in so many goes to the group of 1,000.
const LARGE_GROUP_EVERY: u64 = 1_000;
const SEED: u64 = 1;

/// Measures the chain and its baseline, and prints both.
///
/// # Errors
/// When a part fails, or a message is lost, doubled or out of order.
pub async fn chain(args: ChainBenchArgs) -> Result<(), CommandError> {
    let workload = Workload {
        seed: SEED,
        conversations: args.conversations.max(1),
        content_bytes: args.content_bytes,
        large_group_every: LARGE_GROUP_EVERY,
    };
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let hops: &[&TopicSpec] = if args.unfused {
        &[&UPSTREAM.spec, &ACCEPTED.spec, &SEQUENCED.spec, &PERSISTED.spec, &DELIVERIES.spec]
    } else {
        &[&UPSTREAM.spec, &SEQUENCED.spec, &PERSISTED.spec, &DELIVERIES.spec]
    };
    eprintln!("baseline: copying {} records through {} hops …", args.messages, hops.len() - 1);
    let (bytes, baseline) = bare_copy(&dir.path().join("copy"), &args, &workload, hops).await?;
    eprintln!("chain: {} messages through all stages …", args.messages);
    let (deliveries, took, threads) = through_the_stages(&dir.path().join("chain"), &args, &workload).await?;

    let mut report = Report::new("gochat bench chain");
    report
        .setting("log", benched_log(&args).described())
        .setting("store", "SQLite, WAL, synchronous=FULL")
        .setting("stages", if args.unfused { "each in tasks of its own" } else { "dedupe and id-assign fused" })
        .setting("tasks a stage", args.tasks)
        .setting("partitions", args.partitions)
        .setting("records in a batch, at most", args.batch)
        .setting("conversations", args.conversations)
        .setting("bytes of an upstream record", bytes)
        .setting("deliveries", deliveries)
        .setting("seed", SEED)
        .row(baseline_named(args.log), args.messages, baseline)
        .row("chain, upstream to downstream", args.messages, took);
    eprintln!("every message was delivered, in order, without a gap\n");
    print(&report);
    print(&threads);
    Ok(())
}

fn baseline_named(log: cli::LogKind) -> &'static str {
    match log {
        cli::LogKind::Embedded => "bare copy through as many hops",
        cli::LogKind::Kafka => "librdkafka, bare, as many hops",
    }
}

fn benched_log(args: &ChainBenchArgs) -> BenchedLog<'_> {
    BenchedLog { kind: args.log, brokers: &args.brokers, partitions: args.partitions, slots: SLOTS }
}

async fn bare_copy(
    dir: &Path,
    args: &ChainBenchArgs,
    workload: &Workload,
    hops: &[&'static TopicSpec],
) -> Result<(u64, Took), CommandError> {
    std::fs::create_dir_all(dir)?;
    let config = benched_log(args).config(dir);
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
    let watch = Stopwatch::start();
    let work = async {
        let bytes = feed(&log, workload, args.messages).await?;
        arrived(&log, last, args.messages).await?;
        Ok::<_, CommandError>(bytes)
    };
    let bytes = tokio::select! {
        bytes = work => bytes?,
        Some(ended) = copies.join_next() => {
            ended??;
            return Err("a copy ended before the work was done".into());
        }
    };
    let took = watch.took();
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
        let task = bench::kafka_copy::CopyTask {
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
        copies.spawn_blocking(move || Ok(bench::kafka_copy::copy(&task, &stop)?));
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

/// Waits until a topic's partitions hold so many records.
async fn arrived(log: &Arc<dyn Log>, topic: &'static TopicSpec, expected: u64) -> Result<(), CommandError> {
    let partitions = log.layout().partitions(topic);
    let from: Vec<_> = (0..partitions).map(|partition| (partition, topics::log::StartAt::Earliest)).collect();
    let mut reader = log.read(topic, &from).await?;
    let mut seen = 0;
    while seen < expected {
        let batch = next_records(&mut *reader).await?.ok_or("the copy stalled for 30 s")?;
        seen += batch.records.len() as u64;
    }
    Ok(())
}

async fn through_the_stages(
    dir: &Path,
    args: &ChainBenchArgs,
    workload: &Workload,
) -> Result<(u64, Took, ThreadsTook), CommandError> {
    std::fs::create_dir_all(dir)?;
    let open = OpenLog::open(&benched_log(args).config(dir), Clock::system()).await?;
    let log = open.log();
    let clock = Clock::system();
    let presence = SharedPresence::default();
    everybody_online(&presence, workload, &clock);
    let config = RunnerConfig { batch_records_max: args.batch, ..RunnerConfig::default() };
    let around = Surroundings { log: log.clone(), clock: clock.clone(), config, instance: "bench".into() };
    let stop = CancellationToken::new();
    let mut tasks = StageTasks::new(around, args.tasks, stop.clone());
    let parts = topology::Parts {
        dedupe_window_ms: 600_000,
        fused: !args.unfused,
        first_instance: 0,
        store: SqliteStore::open(&dir.join("repo.db"), SqliteConfig::default()).await?,
        presence: presence.clone(),
        members: members(),
    };
    let mut threads = Vec::new();
    for role in Role::value_variants() {
        let Some(stage) = StageRole::of(*role) else { continue };
        if args.profile {
            let name = role.to_possible_value().map(|role| role.get_name().to_owned());
            threads.push(NamedThreads::start(&name.unwrap_or_default(), usize::from(args.tasks))?);
        }
        // Tasks are started where this thread has entered.
        let _entered = threads.last().map(|threads| threads.handle().enter());
        topology::start(stage, &parts, &mut tasks);
    }
    let mut delivered = Watch::start(&log).await?;
    let (before, watch) = (ThreadTimes::now()?, Stopwatch::start());
    let work = async {
        let (_, deliveries) = tokio::try_join!(async { feed(&log, workload, args.messages).await }, async {
            delivered.until(args.messages).await.map_err(CommandError::from)
        },)?;
        Ok::<_, CommandError>(deliveries)
    };
    let deliveries = tokio::select! {
        deliveries = work => deliveries?,
        ended = tasks.ended() => {
            ended.transpose()?;
            return Err("a stage ended before the work was done".into());
        }
        () = keep_beating(&presence, &clock) => unreachable!("beats until dropped"),
    };
    let took = watch.took();
    let by_thread = before.took(took)?;
    stop.cancel();
    while let Some(ended) = tasks.ended().await {
        ended?;
    }
    open.close().await;
    Ok((deliveries, took, by_thread))
}

/// Appends the workload as a busy gateway does; returns the bytes of its values.
async fn feed(log: &Arc<dyn Log>, workload: &Workload, messages: u64) -> Result<u64, CommandError> {
    let messages = workload.messages().take(usize::try_from(messages)?);
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

fn everybody_online(presence: &SharedPresence, workload: &Workload, clock: &Clock) {
    beat(presence, clock);
    let mut table = presence.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for user_id in workload.users() {
        let slot = i32::try_from(user_id.0 % i64::from(SLOTS)).unwrap_or(0);
        let at = clock.now_ms();
        table.apply(&PresenceEvent::User(Presence { user_id, slot, epoch: 1, online: true, at }));
    }
}

fn beat(presence: &SharedPresence, clock: &Clock) {
    let mut table = presence.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for slot in 0..i32::try_from(SLOTS).unwrap_or(1) {
        table.apply(&PresenceEvent::Slot(Heartbeat { slot, epoch: 1, at: clock.now_ms() }));
    }
}

async fn keep_beating(presence: &SharedPresence, clock: &Clock) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(2));
    loop {
        ticks.tick().await;
        beat(presence, clock);
    }
}

fn members() -> MembershipSource {
    let membership = |group_id: GroupId| {
        let members = Workload::members(group_id);
        Membership { group_id, version: 1, large: members.len() > 500, members }
    };
    Arc::new(move |groups| {
        let memberships = groups.into_iter().map(membership).collect();
        Box::pin(std::future::ready(Ok(memberships)))
    })
}
