//! Probes each dependency of a process once a second. Logs one line when it goes down, with its address and the cause,
//! and one when it is back. Its callers meanwhile fail, wait or retry without logging.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use stages::repo::cache::Cache;
use stages::repo::store::Probe;
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use topics::backlog::Backlog;
use topics::catalogue::TopicSpec;
use topics::log::Log;

use super::{Health, State};
use crate::disk::Room;
use crate::memory::Memory;
use schemas::causes::{cause, causes};

/// How often each is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a probe may take. Log, store and cache give up earlier, and say why.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// Why a group has failed.
const NO_PROCESS: &str = "no process runs it";
/// How long a group may be without a member before that is logged: at a start, and after the brokers were down, joining
/// takes some seconds.
const STAGES_COME_WITHIN: Duration = Duration::from_secs(15);

/// Probes one component forever.
pub async fn component<F: Future<Output = State>>(
    health: Health,
    component: &'static str,
    address: String,
    mut ask: impl FnMut() -> F,
) {
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let no_answer = || State::Failed(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()));
        let state = timeout(ANSWER_TIME_MAX, ask()).await.unwrap_or_else(|_| no_answer());
        tell(&health, component, &address, state);
    }
}

fn tell(health: &Health, component: &'static str, address: &str, state: State) {
    let Some(change) = health.set(component, state.clone()) else { return };
    match (state, change.after_ms) {
        (State::Failed(cause), _) => tracing::warn!(component, address, cause, "{component} does not work"),
        (State::Degraded(cause), _) => {
            tracing::warn!(component, address, cause, "{component} is down: this costs speed only")
        }
        (State::Ready, Some(away_ms)) => tracing::info!(component, address, away_ms, "{component} works again"),
        (State::Ready, None) => {}
    }
}

/// Whether the log answers, and takes what it is given.
pub async fn log(log: Arc<dyn Log>) -> State {
    failed_unless(log.probe().await)
}

/// Whether the store can be read and written; tells the sender, too.
pub async fn store((store, serving): (Arc<dyn Probe>, Arc<watch::Sender<bool>>)) -> State {
    let answer = timeout(ANSWER_TIME_MAX, store.probe()).await;
    let works = matches!(answer, Ok(Ok(())));
    serving.send_if_modified(|serving| std::mem::replace(serving, works) != works);
    match answer {
        Ok(answer) => failed_unless(answer),
        Err(_) => std::future::pending().await,
    }
}

/// Whether the copies of the store can be read.
pub async fn replicas(store: Arc<dyn Probe>) -> State {
    let away = store.probe_replicas().await;
    let reasons: Vec<_> = away.iter().map(|error| causes(error)).collect();
    if reasons.is_empty() { State::Ready } else { State::Degraded(reasons.join("; ")) }
}

/// Whether the cache answers.
pub async fn cache(cache: Arc<dyn Cache>) -> State {
    match cache.probe().await {
        Ok(()) => State::Ready,
        Err(error) => State::Degraded(cause(&error)),
    }
}

/// Whether the repo says by `grpc.health.v1` that it serves.
pub async fn repo(channel: Channel) -> State {
    let everything = HealthCheckRequest { service: String::new() };
    match HealthClient::new(channel).check(everything).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => State::Ready,
        Ok(_) => State::Failed("it answers that it does not serve: its store is away, or it is stopping".into()),
        Err(status) => State::Failed(status.source().map_or_else(|| status.message().to_owned(), |_| cause(&status))),
    }
}

/// Whether the gateway holds its slot.
pub async fn slot(lost: CancellationToken) -> State {
    if lost.is_cancelled() { State::Failed("the lease of the gateway's slot was lost".into()) } else { State::Ready }
}

/// Whether the disk has room.
pub async fn disk(room: Room) -> State {
    tokio::task::spawn_blocking(move || room.look())
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Whether the process is within its memory.
pub async fn memory((memory, backlog): (Arc<Memory>, Arc<Backlog>)) -> State {
    memory.look(&backlog)
}

/// Whether messages are taken: not while too many wait before the store, or for too long.
pub async fn backlog(backlog: Arc<Backlog>) -> State {
    match backlog.overload() {
        Some(overload) => State::Failed(format!("{overload}: what is sent is refused")),
        None => State::Ready,
    }
}

fn failed_unless<E: Error + 'static>(answer: Result<(), E>) -> State {
    match answer {
        Ok(()) => State::Ready,
        Err(error) => State::Failed(cause(&error)),
    }
}

/// Asks forever whether each group has a member in some process.
pub async fn groups(
    health: Health,
    log: Arc<dyn Log>,
    address: String,
    groups: Vec<(&'static str, &'static TopicSpec)>,
) {
    let mut missing: BTreeMap<&'static str, Missing> = BTreeMap::new();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // While the log does not answer, the last known state stays.
        let Ok(Ok(members)) = timeout(ANSWER_TIME_MAX, log.members(&groups)).await else { continue };
        for (&(group, _), count) in groups.iter().zip(members) {
            if count > 0 {
                health.set(group, State::Ready);
                if let Some(Missing { since, told: true }) = missing.remove(group) {
                    let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(component = group, address, away_ms, "{group} works again");
                }
                continue;
            }
            health.set(group, State::Failed(NO_PROCESS.into()));
            let missing = missing.entry(group).or_insert(Missing { since: Instant::now(), told: false });
            if !missing.told && missing.since.elapsed() >= STAGES_COME_WITHIN {
                missing.told = true;
                tracing::warn!(component = group, address, cause = NO_PROCESS, "{group} does not work");
            }
        }
    }
}

/// A group without a member.
struct Missing {
    since: Instant,
    told: bool,
}
