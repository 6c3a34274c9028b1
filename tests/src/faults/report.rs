//! The result of a run, as a table.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use stages::invariants::Invariant;

use super::books::{Books, Tally};
use super::fault::{Kind, LogKind, StoreKind};

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// What it ran on.
    pub on: (LogKind, StoreKind),
    /// What repeats the run.
    pub repeat: String,
    /// How long it took.
    pub took: Duration,
    /// How often each fault was injected, and the longest pause of delivery around it, ms.
    pub faults: BTreeMap<Kind, (u32, Option<i64>)>,
    /// The longest pause before any fault, ms.
    pub calm_pause_ms: Option<i64>,
    /// Further lines of figures.
    pub notes: Vec<String>,
    said: u64,
    copies: u64,
    acked: u64,
    stored: u64,
    held_back: u64,
    held_off: u64,
    dropped: u64,
    tallies: BTreeMap<Invariant, Tally>,
    failures: Vec<String>,
}

impl Report {
    /// What the books say.
    pub fn new(on: (LogKind, StoreKind), repeat: String, took: Duration, books: &Books) -> Self {
        Self {
            on,
            repeat,
            took,
            faults: BTreeMap::new(),
            calm_pause_ms: books.pauses.longest(None),
            notes: Vec::new(),
            said: books.all_said,
            copies: books.copies,
            acked: books.acked,
            stored: books.stored_messages(),
            held_back: books.held_back,
            held_off: books.held_off,
            dropped: books.dropped,
            tallies: books.tallies().clone(),
            failures: books.failures.clone(),
        }
    }

    /// Counts a fault.
    pub fn injected(&mut self, kind: Kind, count: u32, longest_pause_ms: Option<i64>) {
        let (counted, longest) = self.faults.entry(kind).or_default();
        *counted += count;
        *longest = longest_pause_ms.max(*longest);
    }

    /// Adds what another scene found; its figures of load are left out.
    pub fn take_findings(&mut self, other: &Books, of: &str) {
        for (invariant, tally) in other.tallies() {
            let own = self.tallies.entry(*invariant).or_default();
            own.looked_at += tally.looked_at;
            own.broken += tally.broken;
            if own.first.is_none() {
                own.first = tally.first.as_ref().map(|first| format!("{of}: {first}"));
            }
        }
        self.failures.extend(other.failures.iter().map(|failure| format!("{of}: {failure}")));
    }

    /// Adds a failure.
    pub fn failed(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Whether everything held.
    pub fn holds(&self) -> bool {
        self.failures.is_empty() && self.tallies.values().all(|tally| tally.broken == 0)
    }

    /// Invariants that nothing was looked at for: that would prove nothing.
    pub fn unproven(&self, expected: &[Invariant]) -> Vec<Invariant> {
        let looked_at = |invariant: &Invariant| self.tallies.get(invariant).map_or(0, |tally| tally.looked_at);
        expected.iter().copied().filter(|invariant| looked_at(invariant) == 0).collect()
    }

    fn broken(&self, invariant: Invariant) -> u64 {
        self.tallies.get(&invariant).map_or(0, |tally| tally.broken)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on: (log, store), took, said, copies, acked, stored, held_back, held_off, dropped, .. } = self;
        let seconds = took.as_secs();
        writeln!(f, "{log:?} log, {store:?} store, {} min {} s", seconds / 60, seconds % 60)?;
        writeln!(f, "\n  {:<40} {:>6}  longest pause of delivery", "fault", "times")?;
        for (kind, (times, pause)) in &self.faults {
            writeln!(f, "  {kind:<40} {times:>6}  {}", seconds_of(*pause))?;
        }
        writeln!(f, "  {:<40} {:>6}  {}", "none, before the first", "", seconds_of(self.calm_pause_ms))?;
        writeln!(f, "  {:<40} {dropped:>6}  messages and acks lost by the network of one client", "a bad network")?;
        writeln!(
            f,
            "\n  messages said {said} ({copies} copies), acked {acked}, stored {stored} (with groups' own events)"
        )?;
        writeln!(f, "  asked to try again later {held_off}, not said in time {held_back}")?;
        writeln!(
            f,
            "  lost {}, doubled {}, reordered {}, gaps {}",
            self.broken(Invariant::Acked),
            self.broken(Invariant::Once),
            self.broken(Invariant::Order) + self.broken(Invariant::Stable),
            self.broken(Invariant::Gapless),
        )?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        f.write_char('\n')?;
        for (invariant, Tally { looked_at, broken, first }) in &self.tallies {
            match first {
                None => writeln!(f, "  {:<8} holds, {looked_at} looked at", invariant.name())?,
                Some(first) => writeln!(f, "  {:<8} BROKEN {broken} times of {looked_at}: {first}", invariant.name())?,
            }
        }
        self.failures.iter().take(20).try_for_each(|failure| writeln!(f, "  FAILED   {failure}"))?;
        if !self.holds() {
            writeln!(f, "\nit is repeated by: {}", self.repeat)?;
        }
        Ok(())
    }
}

fn seconds_of(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1_000.0))
}
