//! The chain in a world of its own: the product's runner and stages over a simulated log and store, on
//! a paused clock, with every chance drawn from one seed.
//!
//! A schedule has 200 messages and more, a fifth of them sent again, two processes a stage that take
//! over from each other, and faults before, in and after commits and writes. When all is worked on it is
//! judged from outside, by the named invariants. `tests/simulate.sh` plays any number of schedules, and
//! any one again with its trace.

mod broker;
mod catches;
mod group;
mod judge;
mod log;
mod member;
mod partition;
mod planted;
mod planted_log;
mod process;
mod rebuilds;
mod scene;
mod schedule;
mod store;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use self::scene::MESSAGES_MIN;
use self::schedule::{Outcome, run};

/// Schedules that a run of the tests plays when it is not told otherwise.
const SCHEDULES: u64 = 1_000;
/// Faults that every schedule has, at least.
const FAULTS_MIN: u32 = 3;

/// A setting of `tests/simulate.sh`.
#[allow(clippy::disallowed_methods, reason = "a test has no command line")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text} is no number: {e}")))
}

/// Plays seeds on all cores; `look` gets each outcome, and says whether to go on.
fn play(seeds: std::ops::Range<u64>, look: impl Fn(u64, Outcome) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    if !look(seed, run(seed, None)) {
                        next.store(seeds.end, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

#[test]
fn whatever_strikes_every_schedule_keeps_every_invariant() {
    let (first, count) = (setting("GOCHAT_SIMULATE_SEED").unwrap_or(1), setting("GOCHAT_SIMULATE_SCHEDULES"));
    let count = count.unwrap_or(SCHEDULES);
    let (played, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (faults, troubles) = (AtomicU64::new(0), Mutex::new(BTreeMap::<String, u64>::new()));
    play(first..first + count, |seed, outcome| {
        let mut wrong = outcome.wrong();
        if outcome.messages < MESSAGES_MIN || outcome.faults < FAULTS_MIN {
            wrong.push(format!("it had only {} messages and {} faults", outcome.messages, outcome.faults));
        }
        if setting("GOCHAT_SIMULATE_TRACE") == Some(1) {
            print_trace(&outcome);
        }
        faults.fetch_add(outcome.faults.into(), Ordering::SeqCst);
        let mut counts = troubles.lock().unwrap();
        for trouble in outcome.trace.iter().filter_map(|(_, happening)| happening.trouble()) {
            *counts.entry(trouble).or_default() += 1;
        }
        drop(counts);
        let played = played.fetch_add(1, Ordering::SeqCst) + 1;
        if played % 1_000 == 0 {
            say(&format!("{played} of {count} schedules"));
        }
        if !wrong.is_empty() {
            failed.lock().unwrap().push((seed, wrong));
        }
        failed.lock().unwrap().len() < 5
    });
    let (faults, failed) = (faults.into_inner(), failed.into_inner().unwrap());
    for (trouble, count) in troubles.into_inner().unwrap() {
        say(&format!("{count:>8}  {trouble}"));
    }
    say(&format!("{} schedules, {faults} faults, {} failed", played.into_inner(), failed.len()));
    let tell = |(seed, wrong): &(u64, Vec<String>)| {
        format!("seed {seed}; replay: tests/simulate.sh --seed {seed} --trace\n  {}", wrong.join("\n  "))
    };
    assert!(failed.is_empty(), "\n{}", failed.iter().map(tell).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_seed_gives_the_same_events_each_time() {
    for seed in 1..=20 {
        let (first, second) = (run(seed, None), run(seed, None));
        let same = first.trace.iter().zip(&second.trace).take_while(|(one, other)| one == other).count();
        assert_eq!(
            first.digest,
            second.digest,
            "seed {seed} differs at event {same}: {:?} and {:?}",
            first.trace.get(same),
            second.trace.get(same)
        );
    }
    assert_ne!(run(1, None).digest, run(3, None).digest);
}

fn say(text: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}

fn print_trace(outcome: &Outcome) {
    let mut out = std::io::stdout().lock();
    for (at_ms, happening) in &outcome.trace {
        let _nobody_listens = writeln!(out, "{at_ms:>6} ms  {happening:?}");
    }
    for line in &outcome.dispatched {
        let _nobody_listens = writeln!(out, "{line}");
    }
    for finding in &outcome.findings {
        let _nobody_listens = writeln!(out, "{finding}");
    }
}
