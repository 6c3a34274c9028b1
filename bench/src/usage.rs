//! Wall time and processor time of a stretch of work.

use std::time::Duration;

use tokio::time::Instant;

/// A stretch of work that is being measured.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

/// What a stretch of work took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    pub wall: Duration,
    /// Processor time of all threads of the process, user and system.
    pub cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: processor_time() }
    }

    /// What it took until now.
    pub fn took(&self) -> Took {
        Took { wall: self.wall.elapsed(), cpu: processor_time().saturating_sub(self.cpu) }
    }
}

impl std::ops::AddAssign for Took {
    fn add_assign(&mut self, more: Self) {
        self.wall += more.wall;
        self.cpu += more.cpu;
    }
}

/// Without a part of it.
impl std::ops::Sub for Took {
    type Output = Self;

    fn sub(self, part: Self) -> Self {
        Self { wall: self.wall.saturating_sub(part.wall), cpu: self.cpu.saturating_sub(part.cpu) }
    }
}

impl Took {
    /// How many of `n` things were done in a second.
    pub fn per_second(&self, n: u64) -> f64 {
        n as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Processor seconds for a million of `n` things.
    pub fn cpu_seconds_per_million(&self, n: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (n.max(1) as f64)
    }
}

/// Processor time of this process so far.
#[allow(unsafe_code, reason = "the standard library does not offer it")]
fn processor_time() -> Duration {
    // SAFETY: getrusage fills the struct that it is given, which lives on this stack; all-zero bytes
    // are a valid rusage.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let of = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}
