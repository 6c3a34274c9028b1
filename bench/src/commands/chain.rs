//! `bench chain`: messages a second from upstream to downstream, through all five stages, a
//! real log and a real store; beside it the same records copied through as many hops by loops that
//! look at nothing ([`super::baseline`]).

use std::path::Path;
use std::sync::Arc;

use crate::delivered::Watch;
use crate::report::Report;
use crate::threads::{NamedThreads, ThreadTimes, ThreadsTook};
use crate::usage::{Stopwatch, Took};
use crate::workload::Workload;
use schemas::avro::PresenceEvent;
use schemas::ids::GroupId;
use schemas::records::Presence;
use stages::membership::{Membership, MembershipSource};
use stages::presence::SharedPresence;
use tokio_util::sync::CancellationToken;
use topics::catalogue::{DELIVERIES, TopicSpec};
use topics::clock::Clock;

use super::CommandError;
use super::baseline::{self, feed};
use super::installation::{BENCHED_SLOTS, BenchedStore};
use crate::args::ChainBenchArgs;
use pipeline::commands::output;
use pipeline::log::OpenLog;
use pipeline::runner::{RunnerConfig, TaskContext};
use pipeline::tasks::StageTasks;
use pipeline::topology;

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
    let mut hops: Vec<&TopicSpec> = topology::tasks(args.fused.pairs()).iter().map(|task| task.input()).collect();
    // What large-group reads comes back to it; a message ends as a delivery.
    hops.pop();
    hops.push(&DELIVERIES.spec);
    output::note(format_args!("baseline: copying {} records through {} hops …", args.messages, hops.len() - 1));
    let (bytes, bare) = baseline::copied(&dir.path().join("copy"), &args, &workload, &hops).await?;
    output::note(format_args!("chain: {} messages through all stages …", args.messages));
    let store = BenchedStore::make(args.store.as_ref(), dir.path()).await?;
    let (deliveries, took, threads) = through_the_stages(&dir.path().join("chain"), &args, &workload, &store).await?;

    let mut report = Report::new("bench chain");
    report
        .setting("log", args.log().described())
        .setting("store", store.described())
        .setting("stages", args.fused.described())
        .setting("tasks a stage", args.tasks)
        .setting("partitions", args.partitions)
        .setting("records in a batch, at most", args.batch)
        .setting("conversations", args.conversations)
        .setting("bytes of an upstream record", bytes)
        .setting("deliveries", deliveries)
        .setting("seed", SEED)
        .setting("messages ahead, not counted", args.warm_up_messages())
        .row(baseline::named(args.log), args.messages, bare)
        .row("chain, upstream to downstream", args.messages, took);
    output::note("every message was delivered, in order, without a gap\n");
    output::line(&report)?;
    output::line(&threads)?;
    Ok(())
}

async fn through_the_stages(
    dir: &Path,
    args: &ChainBenchArgs,
    workload: &Workload,
    store: &BenchedStore,
) -> Result<(u64, Took, ThreadsTook), CommandError> {
    std::fs::create_dir_all(dir)?;
    let open = OpenLog::open(&args.log().config(dir), Clock::system()).await?;
    let log = open.log();
    let clock = Clock::system();
    let presence = SharedPresence::default();
    everybody_online(&presence, workload, clock.now_ms());
    let config = RunnerConfig { batch_records_max: args.batch, ..RunnerConfig::default() };
    let context = TaskContext { log: log.clone(), clock, config, instance: "bench".into() };
    let stop = CancellationToken::new();
    let mut tasks = StageTasks::new(context, args.tasks, stop.clone());
    let parts = topology::Parts {
        dedupe_window_ms: 600_000,
        first_instance: 0,
        store: Some(store.open().await?),
        persist_tasks_max: store.persist_tasks_max(),
        presence,
        members: members(),
        large_group: stages::large_group::Config::default(),
    };
    let mut threads = Vec::new();
    for task in topology::tasks(args.fused.pairs()) {
        if args.profile {
            threads.push(NamedThreads::start(task.name(), usize::from(args.tasks))?);
        }
        // Tasks are started where this thread has entered.
        let _entered = threads.last().map(|threads| threads.handle().enter());
        task.start(&parts, &mut tasks);
    }
    let mut delivered = Watch::start(&log).await?;
    let warm_up = args.warm_up_messages();
    let work = async {
        feed(&log, workload, 0..warm_up).await?;
        let early = delivered.until(warm_up).await?;
        let (before, watch) = (ThreadTimes::now()?, Stopwatch::start());
        let (_, deliveries) = tokio::try_join!(feed(&log, workload, warm_up..warm_up + args.messages), async {
            delivered.until(warm_up + args.messages).await.map_err(CommandError::from)
        })?;
        let took = watch.took();
        Ok::<_, CommandError>((deliveries - early, took, before.took(took)?))
    };
    let measured = tokio::select! {
        measured = work => measured?,
        ended = tasks.ended() => {
            ended.transpose()?;
            return Err("a stage ended before the work was done".into());
        }
    };
    stop.cancel();
    while let Some(ended) = tasks.ended().await {
        ended?;
    }
    open.close().await;
    Ok(measured)
}

fn everybody_online(presence: &SharedPresence, workload: &Workload, at: i64) {
    let mut table = presence.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for user_id in workload.users() {
        let slot = i32::try_from(user_id.0 % i64::from(BENCHED_SLOTS)).unwrap_or(0);
        table.apply(&PresenceEvent::User(Presence { user_id, slot, epoch: 1, online: true, at }), at);
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
