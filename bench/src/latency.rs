//! Latencies and their percentiles: one measured stretch a row.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones: what is slower counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Decimal digits that a recorded latency keeps.
const DIGITS: u8 = 3;

/// The latencies of one stretch, to a microsecond or a thousandth of their value.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let longest = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_max(longest, DIGITS).expect("the bounds are constants that a histogram takes"))
    }
}

impl Latency {
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share of them does not exceed: 0.99 is p99.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }
}

impl FromIterator<Duration> for Latency {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Self {
        let mut latency = Self::default();
        all.into_iter().for_each(|took| latency.record(took));
        latency
    }
}

/// A table of latencies, in milliseconds.
#[derive(Debug, Default)]
pub struct Latencies(Vec<(String, Latency)>);

impl Latencies {
    /// Adds a row; one without latencies is left out.
    pub fn row(&mut self, what: impl Into<String>, latency: Latency) -> &mut Self {
        if latency.count() > 0 {
            self.0.push((what.into(), latency));
        }
        self
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["count", "mean", "p50", "p90", "p99", "p99.9", "max"];
        write!(f, "  {:<34}", "ms")?;
        columns.iter().try_for_each(|column| write!(f, " {column:>9}"))?;
        writeln!(f)?;
        for (what, latency) in &self.0 {
            let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
            write!(f, "  {what:<34} {:>9} {:>9.2}", latency.count(), latency.0.mean() / 1_000.0)?;
            for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                write!(f, " {:>9.2}", ms(latency.quantile(share)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let latency: Latency = (1..=1_000).map(Duration::from_millis).collect();
        let near = |share: f64, ms: u64| {
            let found = latency.quantile(share).as_millis();
            assert!(found.abs_diff(ms.into()) <= 1, "{share}: {found} ms, not {ms}");
        };
        near(0.5, 500);
        near(0.99, 990);
        near(1.0, 1_000);
        let mut table = Latencies::default();
        table.row("answered", latency).row("nobody", Latency::default());
        let text = table.to_string();
        assert!(text.contains("answered") && !text.contains("nobody"), "{text}");
    }
}
