//! Conversations as people use them: a few much, most hardly ever.

use rand::RngExt;
use rand::rngs::StdRng;

/// Numbers from 0 up to but not with a bound; number r comes with a weight of (r + 1)^-s (Zipf's law).
#[derive(Debug, Clone)]
pub struct Zipf {
    /// The share of each number and all before it.
    shares: Vec<f64>,
}

impl Zipf {
    /// Over so many numbers.
    pub fn new(numbers: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=numbers).map(|rank| (rank as f64).powf(-s));
        let sums: Vec<_> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self { shares: sums.iter().map(|share| share / sum).collect() }
    }

    /// One of them.
    pub fn sample(&self, rng: &mut StdRng) -> usize {
        let at: f64 = rng.random();
        self.shares.partition_point(|share| *share <= at).min(self.shares.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_first_comes_as_often_as_the_law_says() {
        let (zipf, mut rng) = (Zipf::new(1_000, 1.1), StdRng::seed_from_u64(1));
        const SAMPLES: usize = 100_000;
        let mut counts = vec![0; 1_000];
        (0..SAMPLES).for_each(|_| counts[zipf.sample(&mut rng)] += 1);
        let expected = SAMPLES as f64 / (1..=1_000).map(|rank: i32| f64::from(rank).powf(-1.1)).sum::<f64>();
        assert!((f64::from(counts[0]) / expected - 1.0).abs() < 0.05, "{} of {expected}", counts[0]);
        assert!((f64::from(counts[0]) / f64::from(counts[1]) / 2_f64.powf(1.1) - 1.0).abs() < 0.05);
    }
}
