//! What a schedule draws on: chance, time, and the record of what happened.
//!
//! Everything comes from one seed. Time is the runtime's, which is paused and moves to the next timer
//! when nobody has work; the wall clock of each machine and the log's own time follow it, each machine
//! a little beside the others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use topics::clock::Clock;

/// When every schedule starts, ms since 1970 UTC.
const START_MS: i64 = 1_800_000_000_000;
/// How far a machine's clock is beside the log's, either way.
const SKEW_MS_MAX: i64 = 15;
/// Machines; each runs one process of every stage.
pub const MACHINES: usize = 2;
/// Faults at boundaries that one schedule has at most.
const FAULTS_MAX: u32 = 16;
/// Boundaries between two faults, at most.
const BOUNDARIES_BETWEEN_MAX: u32 = 40;
/// A process that is frozen for longer loses its partitions.
pub const SESSION: Duration = Duration::from_millis(40);

/// One process of a stage on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its place among all processes.
    pub index: usize,
    /// The stage it runs.
    pub stage: &'static str,
    /// Where it runs.
    pub machine: usize,
}

/// Where in a piece of work a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// A question to the log outside of a commit.
    Asking,
    /// Nothing of the commit, or write, was done.
    Before,
    /// It is half done.
    Within,
    /// All of it is done; only the answer is missing.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An error that passes: the same call may succeed.
    Passing,
    /// An error after which the transaction is known to be aborted.
    Abort,
    /// The client is of no use any more, and nobody knows how the commit ended.
    Broken,
    /// The process dies.
    Crash,
    /// The process stands still for longer than its session lasts, and then goes on.
    Freeze,
}

/// What happened, for people and for comparing two runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happening {
    Said { copy: u64, topic: &'static str, partition: u32, offset: u64 },
    NotSaid { copy: u64, written: bool },
    Joined(Process),
    Assigned { to: Process, partition: u32, committed: Option<u64> },
    Revoked { from: Process, partitions: Vec<u32> },
    Lost { by: Process, partitions: Vec<u32> },
    Started { by: Process, partition: u32, offset: u64 },
    Batch { of: Process, partition: u32, from: u64, next: u64, records: usize },
    Written { by: Process, outputs: usize },
    Committed { by: Process, positions: Vec<(u32, u64)> },
    Aborted { by: String },
    Fenced(Process),
    Stored { by: Process, rows: usize },
    Struck { process: Process, at: Boundary, fault: Fault },
    Froze { process: Process, ms: u64 },
    Evicted(Process),
    Died(Process),
    Born(Process),
    Stopped { process: Process, error: String },
    Moved { group: String, partition: u32 },
    Compacted { topic: &'static str, partition: u32, dropped: usize },
    ClockJumped { ms: i64 },
    MemberEntered { group: i64, user: i64, version: i64 },
    Loaded { by: Process, group: i64, version: i64 },
}

impl Happening {
    /// What kind of trouble this is, for counting; none for what happens in good order.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Struck { process, at, fault } => Some(format!("{fault:?} {at:?} in {}", process.stage)),
            Self::NotSaid { written: true, .. } => Some("append without an answer".into()),
            Self::NotSaid { written: false, .. } => Some("append that failed".into()),
            Self::Lost { by, .. } => Some(format!("partitions lost by {}", by.stage)),
            Self::Revoked { from, .. } => Some(format!("partitions revoked from {}", from.stage)),
            Self::Aborted { .. } => Some("transactions aborted".into()),
            Self::Fenced(process) => Some(format!("zombies of {} fenced", process.stage)),
            Self::Died(process) => Some(format!("deaths of {}", process.stage)),
            Self::Froze { .. } => Some("processes frozen".into()),
            Self::ClockJumped { .. } => Some("jumps of the clock".into()),
            Self::Said { .. }
            | Self::Joined(_)
            | Self::Assigned { .. }
            | Self::Started { .. }
            | Self::Batch { .. }
            | Self::Written { .. }
            | Self::Committed { .. }
            | Self::Stored { .. }
            | Self::Evicted(_)
            | Self::Born(_)
            | Self::Stopped { .. }
            | Self::Moved { .. }
            | Self::Compacted { .. }
            | Self::MemberEntered { .. }
            | Self::Loaded { .. } => None,
        }
    }
}

/// All that a schedule shares.
pub struct World {
    started: Instant,
    clocks: [Clock; MACHINES],
    ends: Vec<Notify>,
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    jumped_ms: i64,
    skews_ms: [i64; MACHINES],
    until_fault: u32,
    faults: u32,
    frozen: Vec<Option<Instant>>,
    deaths: Vec<u32>,
    trace: Vec<(i64, Happening)>,
    stopped: Option<String>,
}

impl World {
    /// A world of so many processes. Call it inside the runtime of the schedule.
    pub fn new(seed: u64, processes: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let skews_ms = std::array::from_fn(|_| random.random_range(-SKEW_MS_MAX..=SKEW_MS_MAX));
        let until_fault = random.random_range(1..=BOUNDARIES_BETWEEN_MAX);
        Self {
            started: Instant::now(),
            clocks: skews_ms.map(|skew| Clock::manual(START_MS + skew)),
            ends: (0..processes).map(|_| Notify::new()).collect(),
            state: Mutex::new(State {
                random,
                jumped_ms: 0,
                skews_ms,
                until_fault,
                faults: 0,
                frozen: vec![None; processes],
                deaths: vec![0; processes],
                trace: Vec::new(),
                stopped: None,
            }),
        }
    }

    /// The same world without faults at boundaries.
    pub fn calm(self) -> Self {
        self.state().faults = FAULTS_MAX;
        self
    }

    /// Draws from the schedule's one source of chance.
    pub fn draw<T>(&self, from: impl FnOnce(&mut StdRng) -> T) -> T {
        from(&mut self.state().random)
    }

    /// The log's time, ms since 1970 UTC. Brings the machines' clocks up to it.
    pub fn now_ms(&self) -> i64 {
        let state = self.state();
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap();
        let now = START_MS + elapsed + state.jumped_ms;
        for (clock, skew) in self.clocks.iter().zip(state.skews_ms) {
            clock.advance_ms(now + skew - clock.now_ms());
        }
        now
    }

    /// ms since the schedule began, on the log's clock.
    pub fn age_ms(&self) -> i64 {
        self.now_ms() - START_MS
    }

    /// The wall clock of a machine.
    pub fn clock(&self, machine: usize) -> Clock {
        self.clocks[machine].clone()
    }

    /// Moves every clock forward at once.
    pub fn jump(&self, ms: i64) {
        self.state().jumped_ms += ms;
        self.note(Happening::ClockJumped { ms });
    }

    /// Notes what happened.
    pub fn note(&self, happening: Happening) {
        let at = self.age_ms();
        self.state().trace.push((at, happening));
    }

    /// One step of a process: it takes a while, and as long as the process is frozen.
    pub async fn step(&self, process: Process) {
        let pause_ms = self.draw(|random| random.random_range(0..6_u64).saturating_sub(2));
        if pause_ms > 0 {
            sleep(Duration::from_millis(pause_ms)).await;
        }
        while let Some(until) = self.frozen_until(process) {
            sleep_until(until).await;
        }
        self.now_ms();
    }

    /// Whether something strikes at a boundary, and which of what is possible there.
    pub fn strike(&self, process: Process, at: Boundary, possible: &[Fault]) -> Option<Fault> {
        let mut state = self.state();
        state.until_fault -= 1;
        if state.until_fault > 0 || state.faults >= FAULTS_MAX {
            state.until_fault = state.until_fault.max(1);
            return None;
        }
        state.until_fault = state.random.random_range(1..=BOUNDARIES_BETWEEN_MAX);
        state.faults += 1;
        let fault = possible[state.random.random_range(0..possible.len())];
        drop(state);
        self.note(Happening::Struck { process, at, fault });
        Some(fault)
    }

    /// A step over a boundary, where something may strike. Does not return when the process dies of it.
    pub async fn pass(&self, process: Process, at: Boundary, possible: &[Fault]) -> Result<(), Fault> {
        match self.strike(process, at, possible) {
            None => Ok(()),
            Some(Fault::Crash) => self.die(process).await,
            Some(fault @ (Fault::Passing | Fault::Abort | Fault::Broken | Fault::Freeze)) => Err(fault),
        }
    }

    /// The process ends here.
    pub async fn die(&self, process: Process) -> ! {
        self.kill(process);
        std::future::pending().await
    }

    /// Stops a process for so long.
    pub fn freeze(&self, process: Process, time: Duration) {
        self.state().frozen[process.index] = Some(Instant::now() + time);
        self.note(Happening::Froze { process, ms: u64::try_from(time.as_millis()).unwrap() });
    }

    /// Ends a process at its next moment.
    pub fn kill(&self, process: Process) {
        self.ends[process.index].notify_one();
    }

    /// Waits until a process is to die.
    pub async fn killed(&self, process: Process) {
        self.ends[process.index].notified().await;
        self.note(Happening::Died(process));
        let mut state = self.state();
        state.frozen[process.index] = None;
        state.deaths[process.index] += 1;
    }

    /// Which life of a process it is: another after each death.
    pub fn life(&self, process: Process) -> u32 {
        self.state().deaths[process.index]
    }

    /// A stage ended by itself: a person would have to look.
    pub fn stopped(&self, process: Process, error: String) {
        let where_and_why = format!("{} on machine {}: {error}", process.stage, process.machine);
        self.note(Happening::Stopped { process, error });
        self.state().stopped.get_or_insert(where_and_why);
    }

    /// The first stage that ended by itself.
    pub fn first_stop(&self) -> Option<String> {
        self.state().stopped.clone()
    }

    /// Counts a fault that did not strike at a boundary.
    pub fn count_fault(&self) {
        self.state().faults += 1;
    }

    /// How many faults there were.
    pub fn faults(&self) -> u32 {
        self.state().faults
    }

    /// What happened, and the hash of it.
    pub fn trace(&self) -> (Vec<(i64, Happening)>, u64) {
        let trace = self.state().trace.clone();
        let mut hasher = DefaultHasher::new();
        trace.hash(&mut hasher);
        (trace, hasher.finish())
    }

    fn frozen_until(&self, process: Process) -> Option<Instant> {
        self.state().frozen[process.index].filter(|until| *until > Instant::now())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}
