//! `bench sockets`: how long a message takes from one socket to another's, at a given rate, and
//! which hop takes how much of that.
//!
//! The installation is a whole one, in this process; the clients are on threads of their own beside it.
//! Hops are read afterwards, from the times that travel with each delivery, so that reading them costs
//! the run nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Account, ClientError, Installation};
use crate::hops::Ends;
use crate::latency::{Latencies, Latency};
use crate::report::Report;
use crate::talk::{ARRIVE_MAX, Outcome, Plan, talk};
use crate::threads::NamedThreads;
use futures::TryStreamExt;
use pipeline::topology::{self, Fuse, PERSIST};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use topics::clock::Clock;
use topics::headers::{HOPS_MAX, Hop, HopTimes};
use topics::log::Log;

use super::CommandError;
use crate::args::SocketsBenchArgs;
use pipeline::commands::output;
use pipeline::config::Config;
use pipeline::process::Process;
use pipeline::role::Role;

/// Threads of the clients.
const CLIENT_THREADS: usize = 2;

/// Measures, and prints latencies, hops, counts and processor time.
///
/// # Errors
/// When a part fails, or a message that was due was not sent, acknowledged and delivered.
pub async fn sockets(args: &SocketsBenchArgs) -> Result<(), CommandError> {
    if args.users % 2 == 1 {
        return Err(format!("{} users do not make pairs: give an even number", args.users).into());
    }
    let measured = match &args.connect {
        Some(address) => measure(args, address, None).await?,
        None => in_this_process(args).await?,
    };
    report(args, &measured)?;
    let Outcome { sent, acked, delivered, refused: (refused, words), .. } = &measured.outcome;
    let due = measured.plan.end() - measured.plan.first();
    if let Some(words) = words {
        output::note(format_args!("{refused} refusals, the first: {words}"));
    }
    if [due; 3] != [*sent, *acked, *delivered] {
        let waited = ARRIVE_MAX.as_secs();
        return Err(format!(
            "of {due} messages {sent} were sent, {acked} acknowledged and {delivered} delivered, {waited} s after the \
             last was due"
        )
        .into());
    }
    Ok(())
}

/// What a run gave.
struct Measured {
    plan: Arc<Plan>,
    outcome: Outcome,
    /// The wall clock when the first message of the warm-up was due, ms since 1970 UTC.
    start_ms: i64,
    hops: HashMap<u64, HopTimes>,
}

async fn in_this_process(args: &SocketsBenchArgs) -> Result<Measured, CommandError> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let mut config = args.log().config(dir.path());
    config.stages.tasks_per_stage = args.tasks;
    let Fuse { dedupe_and_id_assign, persist_and_fan_out } = args.fused.pairs();
    config.stages.fuse_dedupe_and_id_assign = dedupe_and_id_assign;
    config.stages.fuse_persist_and_fan_out = persist_and_fan_out;
    open_up(&mut config);
    config.check()?;
    output::note("starting an installation …");
    let process = Process::start(&config, &Role::all().collect::<Vec<_>>()).await?;
    let address = format!("http://{}", process.http.ok_or("the gateway has no address")?);
    let log = process.log.log();
    let stop = CancellationToken::new();
    let mut serving = Box::pin(process.serve(stop.cancelled(), &config));
    tokio::select! {
        measured = measure(args, &address, Some(&log)) => {
            stop.cancel();
            serving.await?;
            measured
        }
        ended = &mut serving => {
            ended?;
            Err("the installation ended before the work was done".into())
        }
    }
}

/// Free ports, and limits that one address with all the users does not meet. What guards the chain stays:
/// the queue before the log, the lag that is answered with Busy.
fn open_up(config: &mut Config) {
    let any_port = || std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into();
    (config.gateway.listen, config.repo.listen) = (any_port(), any_port());
    let gateway = &mut config.gateway.limits;
    gateway.requests_a_second_an_address = 1_000_000;
    gateway.connections_an_address_max = gateway.connections_max;
    gateway.sign_ins_a_second_an_address = 1_000_000;
    gateway.frames_a_second_a_user = 1_000_000;
    gateway.late_messages_a_second_a_user = 1_000_000;
    gateway.content_bytes_a_second_a_user = 1 << 30;
    gateway.content_bytes_a_second_an_address = 1 << 30;
    gateway.messages_a_second_a_conversation = 1_000_000;
    gateway.content_bytes_a_second_a_conversation = 1 << 30;
    gateway.messages_a_second_a_crowd = 1_000_000;
    gateway.content_bytes_a_second_a_crowd = 1 << 30;
    // Sign-ups are not what is measured: their passwords are worth nothing.
    let repo = &mut config.repo.limits;
    (repo.password_memory_kib, repo.password_passes) = (8, 1);
    repo.access_token_seconds = 24 * 3_600;
}

/// Signs users up, connects them, has them talk, and reads what the hops took.
async fn measure(args: &SocketsBenchArgs, address: &str, log: Option<&Arc<dyn Log>>) -> Result<Measured, CommandError> {
    let clock = Clock::system();
    let plan = Arc::new(Plan {
        run: format!("{:x}", clock.now_ms()),
        rate_a_second: args.rate,
        warm_up: Duration::from_secs(args.warm_up_seconds),
        measured: Duration::from_secs(args.seconds),
        content_bytes: args.content_bytes.into(),
    });
    let before = match log {
        Some(log) => Some(Ends::now(log).await?),
        None => None,
    };
    let installation = Installation::at(address)?;
    let (users, planned) = (args.users, plan.clone());
    let threads = NamedThreads::start("clients", CLIENT_THREADS)?;
    let work = async move {
        let accounts = sign_up(&installation, &planned.run, users).await?;
        output::note(format_args!("connecting {users} sockets …"));
        let sockets: Vec<_> = installation.connects(&accounts).try_collect().await?;
        let (rate, seconds) = (planned.rate_a_second, (planned.warm_up + planned.measured).as_secs());
        output::note(format_args!("{rate} messages a second for {seconds} s …"));
        let (start, start_ms) = (Instant::now(), clock.now_ms());
        let outcome = talk(accounts.into_iter().zip(sockets).collect(), &planned, start).await?;
        Ok::<_, CommandError>((outcome, start_ms))
    };
    let (outcome, start_ms) = threads.handle().spawn(work).await??;
    let hops = match (log, before) {
        (Some(log), Some(before)) => before.hops_since(log, |id| plan.message(id)).await?,
        _ => HashMap::new(),
    };
    Ok(Measured { plan, outcome, start_ms, hops })
}

/// Users of a run, who are in nobody's way.
async fn sign_up(installation: &Installation, run: &str, users: u32) -> Result<Vec<Account>, ClientError> {
    output::note(format_args!("signing {users} users up …"));
    installation.sign_ups((0..users).map(|n| format!("bench-{run}-{n}")).collect()).try_collect().await
}

fn report(args: &SocketsBenchArgs, measured: &Measured) -> Result<(), output::OutputError> {
    let Measured { plan, outcome, .. } = measured;
    let mut report = Report::new("bench sockets");
    match &args.connect {
        Some(address) => report.setting("installation", address),
        None => report
            .setting("log", args.log().described())
            .setting("store", "SQLite, WAL, synchronous=FULL")
            .setting("stages", args.fused.described())
            .setting("tasks a stage", args.tasks)
            .setting("partitions", args.partitions),
    };
    report
        .setting("users, each with a socket", args.users)
        .setting("messages a second", args.rate)
        .setting("seconds, after a warm-up of", format!("{}, {}", args.seconds, args.warm_up_seconds))
        .setting("bytes of content", args.content_bytes)
        .setting("messages due", plan.end() - plan.first())
        .setting("sent", outcome.sent)
        .setting("acknowledged", outcome.acked)
        .setting("delivered", outcome.delivered)
        .setting("delivered again", outcome.repeated)
        .setting("CPU seconds, clients included", format!("{:.2}", outcome.took.cpu.as_secs_f64()));
    output::line(&report)?;
    let mut ends = Latencies::default();
    ends.row("due → sent (this program's lateness)", outcome.late.clone())
        .row("due → acknowledged", outcome.ack.clone())
        .row("due → delivered", outcome.delivery.clone());
    output::line(&ends)?;
    output::line(hops(measured))?;
    output::line(&outcome.threads)
}

/// What each hop took, in whole milliseconds, as the stages stamp them.
fn hops(measured: &Measured) -> Latencies {
    let Measured { plan, outcome, start_ms, hops } = measured;
    let since_start = |ms: i64| Duration::from_millis(u64::try_from(ms - start_ms).unwrap_or(0));
    let all = topology::hops();
    let mut admitted = Latency::default();
    let mut stages = [const { None::<Latency> }; HOPS_MAX];
    let mut socket = Latency::default();
    for (message, arrived) in (0..plan.end()).zip(&outcome.arrived).skip(usize::try_from(plan.first()).unwrap_or(0)) {
        let (Some(times), Some(arrived)) = (hops.get(&message), arrived) else { continue };
        admitted.record(since_start(times.admitted_at).saturating_sub(plan.due(message)));
        let mut before = 0;
        for (hop, latency) in all.into_iter().zip(&mut stages) {
            if let Some(after) = times.after(hop) {
                latency.get_or_insert_default().record(Duration::from_millis(after.saturating_sub(before).into()));
                before = after;
            }
        }
        let left = since_start(times.admitted_at + i64::from(before));
        socket.record(arrived.saturating_sub(left));
    }
    let mut table = Latencies::default();
    table.row("due → admitted", admitted);
    for (hop, latency) in all.into_iter().zip(stages) {
        table.row(format!("→ {}", named(hop)), latency.unwrap_or_default());
    }
    table.row("→ the other's socket", socket);
    table
}

/// A hop is stamped when the stage has worked on the record, before the commit, which belongs to the next.
fn named(hop: Hop) -> String {
    let stored = if hop == PERSIST.hop { "stored, " } else { "" };
    format!("{stored}worked by {}", hop.name())
}
