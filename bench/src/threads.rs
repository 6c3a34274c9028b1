//! Where processor time goes: by the names of threads, and to the rest of the machine. And threads
//! with a name, so that there is something to tell apart.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::usage::Took;

/// Processor time is told in these (proc(5): `USER_HZ`, 100 on every Linux that Rust runs on).
const TICK: Duration = Duration::from_millis(10);

/// Processor time of the threads of this process, and of everything else, since they began.
#[derive(Debug, Clone)]
pub struct ThreadTimes {
    threads: BTreeMap<u32, (String, Duration)>,
    machine: Duration,
}

/// Processor time between two looks.
#[derive(Debug, Clone, Default)]
pub struct ThreadsTook {
    /// Of threads of this process, by their name without its number; the longest first.
    pub by_name: Vec<(String, Duration)>,
    /// Of threads of this process that came and went in between.
    pub ended: Duration,
    /// Of other processes of the machine.
    pub others: Duration,
}

impl ThreadTimes {
    /// Until now, from `/proc`.
    ///
    /// # Errors
    /// When there is no `/proc`, or it has another form.
    pub fn now() -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/task")? {
            let path = entry?.path();
            // A thread that ended meanwhile has no file any more.
            let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
            let (id, name, time) = thread(&stat).ok_or_else(|| unreadable("/proc/self/task/*/stat"))?;
            threads.insert(id, (name, time));
        }
        let stat = fs::read_to_string("/proc/stat")?;
        Ok(Self { threads, machine: machine(&stat).ok_or_else(|| unreadable("/proc/stat"))? })
    }

    /// What was used since `self`, when this process as a whole `took` so much.
    ///
    /// # Errors
    /// As [`ThreadTimes::now`].
    pub fn took(&self, took: Took) -> io::Result<ThreadsTook> {
        let now = Self::now()?;
        let mut by_name: BTreeMap<String, Duration> = BTreeMap::new();
        for (id, (name, time)) in &now.threads {
            let before = self.threads.get(id).map_or(Duration::ZERO, |(_, before)| *before);
            *by_name.entry(without_number(name).to_owned()).or_default() += time.saturating_sub(before);
        }
        let seen: Duration = by_name.values().sum();
        let mut by_name: Vec<_> = by_name.into_iter().filter(|(_, time)| !time.is_zero()).collect();
        by_name.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let others = now.machine.saturating_sub(self.machine).saturating_sub(took.cpu);
        Ok(ThreadsTook { by_name, ended: took.cpu.saturating_sub(seen), others })
    }
}

fn unreadable(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} has not the form of proc(5)"))
}

/// Id, name, and time in user and system mode.
fn thread(stat: &str) -> Option<(u32, String, Duration)> {
    // The name may hold spaces and brackets: it ends at the last bracket.
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map(str::parse::<u32>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some((id.parse().ok()?, name.to_owned(), TICK * ticks))
}

/// Time of all processors that was spent neither idle nor waiting for a disk.
fn machine(stat: &str) -> Option<Duration> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, ..] = ticks[..] else { return None };
    Some(Duration::from_millis(10 * (user + nice + system + irq + softirq)))
}

fn without_number(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
}

impl fmt::Display for ThreadsTook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<34} {:>9}", "threads", "CPU s")?;
        let mut row = |name: &str, time: Duration| writeln!(f, "  {name:<34} {:>9.2}", time.as_secs_f64());
        self.by_name.iter().try_for_each(|(name, time)| row(name, *time))?;
        row("(ended meanwhile)", self.ended)?;
        row("(other processes of this machine)", self.others)
    }
}

/// A runtime whose threads have a name; they end when it is dropped.
#[derive(Debug)]
pub struct NamedThreads(Option<Runtime>);

impl NamedThreads {
    /// So many threads of that name, which at most 15 bytes are shown of.
    ///
    /// # Errors
    /// When they can't be started.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build().map(Some).map(Self)
    }

    /// Where to start tasks on them.
    ///
    /// # Panics
    /// Never: there is a runtime until this is dropped.
    pub fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is taken away only by drop").handle()
    }
}

impl Drop for NamedThreads {
    fn drop(&mut self) {
        // Not waited for: this may happen within a task of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_whatever_its_name_is() {
        let stat = "42 (a (b) c-7) S 1 42 42 0 -1 4194368 10 0 0 0 250 30 0 0 20 0 9 0 100 1 2";
        let (id, name, time) = thread(stat).unwrap();
        assert_eq!((id, without_number(&name), time), (42, "a (b) c", Duration::from_millis(2_800)));
        assert_eq!(thread("42 (gone) S 1"), None);
    }

    #[test]
    fn time_that_a_thread_spends_is_found_under_its_name() {
        let threads = NamedThreads::start("spender-0", 1).unwrap();
        let (before, watch) = (ThreadTimes::now().unwrap(), crate::usage::Stopwatch::start());
        let spend = async move {
            while watch.took().cpu < Duration::from_millis(200) {
                std::hint::spin_loop();
            }
            watch.took()
        };
        let (tell, told) = std::sync::mpsc::channel();
        threads.handle().spawn(async move { tell.send(spend.await) });
        let took = told.recv_timeout(Duration::from_secs(60)).unwrap();
        let found = before.took(took).unwrap();
        let of = found.by_name.iter().find(|(name, _)| name == "spender").map(|(_, time)| *time);
        assert!(of.is_some_and(|time| !time.is_zero()), "{found}");
    }
}
