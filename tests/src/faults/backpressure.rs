//! A stage that stands still under load: clients are asked to wait, memory and queues keep their bounds,
//! and all that was acknowledged arrives once the stage goes on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use topics::clock::Clock;

use super::fault::{Kind, LogKind};
use super::inject::Lock;
use super::report::Report;
use super::run::{Options, begin, progress};
use super::scene::Scene;
use super::stand::Role;
use super::usage::Memory;

/// Records that may wait, unless the time is too short for so many: the product's default.
const LAG_RECORDS_MAX: u64 = 200_000;
/// What may come in before the gateways look again: they look each second, at a log that may answer late.
const OVERSHOOT_SECONDS: u64 = 5;
/// What a process's resident memory may grow by in the second half of the time.
const GROWTH_KIB_MAX: u64 = 48 * 1_024;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stops persist for some time: on Kafka its processes, on the embedded log the store that it writes to.
pub async fn run(options: &Options, time: Duration) -> Report {
    let began = Instant::now();
    let seed = StdRng::seed_from_u64(options.seed).random();
    let limit = LAG_RECORDS_MAX.min(u64::from(options.rate) * time.as_secs() / 4);
    let settings = [("GOCHAT__GATEWAY__LIMITS__BUSY_LAG_RECORDS_MAX".to_owned(), limit.to_string())];
    progress(began, "starting");
    let mut scene = begin(options, &settings, seed).await;
    scene.go_on(Duration::from_secs(3)).await;
    let kind = match options.log {
        LogKind::Embedded => Kind::StoreLocked,
        LogKind::Kafka => Kind::Zombie,
    };
    scene.shared.books.lock().await.pauses.fault(kind, Clock::system().now_ms());
    progress(began, "persist stands still");
    let stopped = Stopped::stop(&mut scene).await;
    let (first_half, _) = watch(&mut scene, time / 2).await;
    let (second_half, lag) = watch(&mut scene, time / 2).await;
    stopped.go_on(&scene).await;
    let held_off = scene.shared.books.lock().await.held_off;
    progress(began, &format!("it goes on; clients were asked to wait {held_off} times, {lag} records wait"));
    scene.recover(Clock::system().now_ms(), "a stage that stood still").await;
    let (_stand, shared) = scene.end().await;
    let books = shared.books.lock().await;
    let mut report = Report::new(options.log, options.repeat.clone(), began.elapsed().as_secs(), &books);
    report.injected(kind, 1, books.pauses.longest(Some(kind)));
    report.notes.push(format!("persist stood still for {time:?}; most records that waited: {lag}, limit {limit}"));
    if held_off == 0 {
        report.failed("nobody was asked to wait".into());
    }
    if lag > limit + OVERSHOOT_SECONDS * u64::from(options.rate) {
        report.failed(format!("{lag} records waited, and {limit} may"));
    }
    for (process, after) in second_half.peaks() {
        let before = first_half.peaks().get(process).copied().unwrap_or_default();
        report.notes.push(format!("memory of {process}: {} MiB, then {} MiB", before / 1_024, after / 1_024));
        if *after > before + GROWTH_KIB_MAX {
            report.failed(format!("{process} grew from {before} KiB to {after} KiB while persist stood still"));
        }
    }
    report
}

/// What holds persist up.
enum Stopped {
    Store(Lock),
    Processes(Vec<usize>),
}

impl Stopped {
    async fn stop(scene: &mut Scene) -> Self {
        match scene.stand.log {
            LogKind::Embedded => Self::Store(Lock::take(&scene.stand.data().join("repo.db")).await),
            LogKind::Kafka => {
                let parts = scene.stand.parts_of(Role::Persist);
                for &at in &parts {
                    scene.stand.signal(at, "STOP").await;
                }
                Self::Processes(parts)
            }
        }
    }

    async fn go_on(self, scene: &Scene) {
        match self {
            Self::Store(lock) => drop(lock),
            Self::Processes(parts) => {
                for at in parts {
                    scene.stand.signal(at, "CONT").await;
                }
            }
        }
    }
}

/// The most memory of each process, and the most records that waited, over some time.
async fn watch(scene: &mut Scene, time: Duration) -> (Memory, u64) {
    let (mut memory, mut lag, end) = (Memory::default(), 0, Instant::now() + time);
    while Instant::now() < end {
        scene.go_on(LOOK_EVERY).await;
        memory.look(&scene.stand.pids());
        scene.look_at_queues().await;
        lag = lag.max(scene.lag().await);
    }
    (memory, lag)
}
