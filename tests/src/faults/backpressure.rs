//! A stage that stands still under load: clients are asked to wait, memory and queues keep their bounds,
//! and all that was acknowledged arrives once the stage goes on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use topics::clock::Clock;

use super::fault::{Kind, LogKind};
use super::report::Report;
use super::run::{Options, begin, progress};
use super::scene::Scene;
use super::stand::Role;
use super::store::Held;
use super::usage::Memory;

/// Records that may wait, unless the time is too short for so many: the product's default.
const LAG_RECORDS_MAX: u64 = 200_000;
/// What may come in before the gateways look again: they look each second, at a log that may answer late.
const OVERSHOOT_SECONDS: u64 = 5;
/// Load before the stop, so that what every installation has in memory under load is there.
const WARM_UP: Duration = Duration::from_secs(15);
/// What a process's resident memory may grow by from before the stop to its last minute, for what comes with
/// the records that wait up to the limit: the newest of each partition, and the keys of dedupe.
const STOPPED_GROWTH_KIB_MAX: u64 = 64 * 1_024;
/// What it may grow by in the second half of the stop, in which no record is taken any more.
const FULL_GROWTH_KIB_MAX: u64 = 16 * 1_024;
/// The first and the last part of the stop that are told, unless its half is shorter.
const PART_TOLD_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Stops persist for some time: on Kafka its processes, on the embedded log the store that it writes to.
pub async fn run(options: &Options, time: Duration) -> Report {
    let began = Instant::now();
    let seed = StdRng::seed_from_u64(options.seed).random();
    let limit = LAG_RECORDS_MAX.min(u64::from(options.rate) * time.as_secs() / 4);
    let settings = [("GOCHAT__GATEWAY__LIMITS__BUSY_LAG_RECORDS_MAX".to_owned(), limit.to_string())];
    progress(began, "starting");
    let mut scene = begin(options, &settings, seed).await;
    scene.go_on(WARM_UP).await;
    let kind = match options.log {
        LogKind::Embedded => Kind::StoreLocked,
        LogKind::Kafka => Kind::Zombie,
    };
    scene.shared.books.lock().await.pauses.fault(kind, Clock::system().now_ms());
    progress(began, "persist stands still");
    let before = Memory::now(&scene.stand.pids());
    let stopped = Stopped::stop(&mut scene).await;
    let stop = Stop::watch(&mut scene, time).await;
    stopped.go_on(&scene).await;
    let held_off = scene.shared.books.lock().await.held_off;
    progress(began, &format!("it goes on; clients were asked to wait {held_off} times, {} records wait", stop.lag));
    scene.recover(Clock::system().now_ms(), "a stage that stood still").await;
    scene.fall_silent().await;
    let (after, ever) = (Memory::now(&scene.stand.pids()), Memory::ever(&scene.stand.pids()));
    let (_stand, shared) = scene.end().await;
    let books = shared.books.lock().await;
    let mut report = Report::new((options.log, options.store), options.repeat.clone(), began.elapsed(), &books);
    report.injected(kind, 1, books.pauses.longest(Some(kind)));
    let lag = stop.lag;
    report.notes.push(format!("persist stood still for {time:?}; most records that waited: {lag}, limit {limit}"));
    if held_off == 0 {
        report.failed("nobody was asked to wait".into());
    }
    if lag > limit + OVERSHOOT_SECONDS * u64::from(options.rate) {
        report.failed(format!("{lag} records waited, and {limit} may"));
    }
    stop.judge(&before, &after, &ever, &mut report);
    report
}

/// Memory and lag while persist stood still.
struct Stop {
    part: Duration,
    first: Memory,
    first_half: Memory,
    second_half: Memory,
    last: Memory,
    /// The most records that waited.
    lag: u64,
}

impl Stop {
    async fn watch(scene: &mut Scene, time: Duration) -> Self {
        let part = PART_TOLD_MAX.min(time / 2);
        let (mut first, mut first_half) = (Memory::default(), Memory::default());
        let (mut second_half, mut last, mut lag) = (Memory::default(), Memory::default(), 0);
        let began = Instant::now();
        while began.elapsed() < time {
            scene.go_on(LOOK_EVERY).await;
            let (pids, at) = (scene.stand.pids(), began.elapsed());
            let parts = [
                (&mut first, at <= part),
                (&mut first_half, at <= time / 2),
                (&mut second_half, at > time / 2),
                (&mut last, at >= time.saturating_sub(part)),
            ];
            parts.into_iter().filter(|(_, now)| *now).for_each(|(memory, _)| memory.look(&pids));
            scene.look_at_queues().await;
            lag = lag.max(scene.lag().await);
        }
        Self { part, first, first_half, second_half, last, lag }
    }

    fn judge(&self, before: &Memory, after: &Memory, ever: &Memory, report: &mut Report) {
        let part = self.part.as_secs();
        report.notes.push(format!(
            "memory, MiB{:17} before  first {part} s  last {part} s   peak  after   (first and last of the stop)",
            ""
        ));
        for process in before.processes() {
            let [began, first, last, peak, end] =
                [before, &self.first, &self.last, ever, after].map(|memory| memory.of(process) / 1_024);
            report.notes.push(format!("  {process:<25} {began:>6} {first:>11} {last:>10} {peak:>6} {end:>6}"));
            let grew = |from: &Memory, to: &Memory| to.of(process).saturating_sub(from.of(process));
            let stopped = grew(before, &self.last);
            if stopped > STOPPED_GROWTH_KIB_MAX {
                report.failed(format!(
                    "{process} grew by {stopped} KiB while persist stood still; {STOPPED_GROWTH_KIB_MAX} it may"
                ));
            }
            let full = grew(&self.first_half, &self.second_half);
            if full > FULL_GROWTH_KIB_MAX {
                report.failed(format!(
                    "{process} grew by {full} KiB while no record was taken; {FULL_GROWTH_KIB_MAX} it may"
                ));
            }
        }
    }
}

/// What holds persist up.
enum Stopped {
    Store(Held),
    Processes(Vec<usize>),
}

impl Stopped {
    async fn stop(scene: &mut Scene) -> Self {
        match scene.stand.log {
            LogKind::Embedded => Self::Store(scene.stand.store.hold().await),
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
            Self::Store(held) => scene.stand.store.let_go(held).await,
            Self::Processes(parts) => {
                for at in parts {
                    scene.stand.signal(at, "CONT").await;
                }
            }
        }
    }
}
