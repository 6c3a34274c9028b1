//! The course of a run: load, a fault, recovery, a checkpoint, the next fault; at the end the judgement.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stages::invariants::Invariant;
use tokio::time::Instant;
use topics::clock::Clock;

use super::cast::Size;
use super::damage;
use super::fault::{Kind, LogKind, Order, StoreKind};
use super::inject::inject;
use super::report::Report;
use super::scene::{Play, Scene};
use super::stand::Stand;
use super::usage::Memory;

/// Calm before a fault, ms: from, and up to.
const CALM_MS: (u64, u64) = (1_500, 5_000);
/// What the checkers must have looked at.
const JUDGED: [Invariant; 6] =
    [Invariant::Acked, Invariant::Once, Invariant::Gapless, Invariant::Stable, Invariant::Order, Invariant::Whole];

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// On which log.
    pub log: LogKind,
    /// With which store.
    pub store: StoreKind,
    /// Whether persist and fan-out share a task.
    pub fused: bool,
    /// How long; `None`: until every kind of fault came once.
    pub time: Option<Duration>,
    /// Which faults; none: all that there are.
    pub only: Vec<Kind>,
    /// Of everything random.
    pub seed: u64,
    /// Messages a second.
    pub rate: u32,
    pub users: usize,
    /// Where data and logs are; kept when something breaks.
    pub dir: PathBuf,
    /// Instead of faults, a stage stands still for so long.
    pub stopped_stage: Option<Duration>,
    /// The command that repeats it.
    pub repeat: String,
}

/// Runs it. Progress goes to stderr.
pub async fn run(options: &Options) -> Report {
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(options.seed);
    progress(began, "starting");
    let mut scene = begin(options, &[], random.random()).await;
    progress(began, "everybody talks");
    let mut order = match options.only.as_slice() {
        [] => Order::new(options.log, options.store),
        only => Order::of(only.to_vec()),
    };
    let (mut injected, mut aside, mut memory) = (Vec::new(), Vec::new(), Memory::default());
    let calm = |random: &mut StdRng| Duration::from_millis(random.random_range(CALM_MS.0..=CALM_MS.1));
    scene.go_on(calm(&mut random)).await;
    let anew = scene.stand.logged("task restarts");
    if anew > 0 {
        let what = format!("stage tasks started anew {anew} times before any fault");
        scene.shared.books.lock().await.failures.push(what);
    }
    while !scene.broken && options.time.map_or(!order.all_came(), |time| began.elapsed() < time) {
        let kind = order.next(&mut random);
        let from = Clock::system().now_ms();
        scene.shared.books.lock().await.pauses.fault(kind, from);
        injected.push(kind);
        match kind {
            Kind::DiskFull => aside.push(damage::disk_full(&options.dir, injected.len(), random.random()).await),
            Kind::DamagedFiles => aside.push(damage::files(&options.dir, injected.len(), random.random()).await),
            _ => {
                let healed = inject(kind, &mut scene, &mut random).await;
                scene.recover(healed, &kind.to_string()).await;
            }
        }
        memory.look(&scene.stand.pids());
        scene.go_on(calm(&mut random)).await;
        scene.read_histories().await;
        scene.look_at_queues().await;
        let books = scene.shared.books.lock().await;
        let broken: u64 = books.tallies().values().map(|tally| tally.broken).sum();
        let took = Clock::system().now_ms() - from;
        progress(
            began,
            &format!(
                "{kind}: over after {:.1} s; acked {}, stored {}, broken {broken}, failures {}",
                took as f64 / 1_000.0,
                books.acked,
                books.stored_messages(),
                books.failures.len()
            ),
        );
    }
    progress(began, "the end: waiting until everybody has everything");
    let (stand, shared) = scene.end().await;
    let books = shared.books.lock().await;
    let mut report = Report::new((options.log, options.store), options.repeat.clone(), began.elapsed(), &books);
    injected.iter().for_each(|&kind| report.injected(kind, 1, books.pauses.longest(Some(kind))));
    if let Some((process, kib)) = memory.largest() {
        report.notes.push(format!("most memory of a process: {} MiB ({process})", kib / 1_024));
    }
    aside.into_iter().for_each(|found| found.enter(&mut report));
    for invariant in report.unproven(&JUDGED) {
        report.failed(format!("nothing was looked at for {invariant}"));
    }
    drop(stand);
    report
}

/// The main scene of a run.
pub(super) async fn begin(options: &Options, settings: &[(String, String)], seed: u64) -> Scene {
    let dir = options.dir.join("main");
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let stand = match options.log {
        LogKind::Embedded => Stand::embedded(&dir, options.store, options.fused, settings).await,
        LogKind::Kafka => Stand::kafka(&dir, options.store, options.fused, settings).await,
    };
    Scene::begin(stand, Play { size: Size { users: options.users, large_group: true }, rate: options.rate, seed }).await
}

/// A line on stderr.
pub fn progress(began: Instant, what: &str) {
    eprintln!("{:>7.1} s  {what}", began.elapsed().as_secs_f64());
}
