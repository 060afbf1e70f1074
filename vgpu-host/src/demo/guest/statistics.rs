//! Durations and their percentiles.

use std::time::Duration;

/// Durations that are kept, at most; after that each takes the place of the oldest. More than a default run takes, and
/// 8 MiB.
const SAMPLES_MAX: usize = 1 << 20;

/// A number of durations.
#[derive(Debug, Default)]
pub(super) struct Samples {
    taken: usize,
    ns: Vec<u64>,
}

/// The same in ascending order.
#[derive(Debug)]
pub(super) struct Sorted {
    ns: Vec<u64>,
}

impl Samples {
    /// Takes a duration.
    pub(super) fn add(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = self.taken % SAMPLES_MAX;
        match self.ns.get_mut(place) {
            Some(oldest) => *oldest = ns,
            None => self.ns.push(ns),
        }
        self.taken += 1;
    }

    /// Sorts what was taken.
    pub(super) fn sorted(&self) -> Sorted {
        let mut ns = self.ns.clone();
        ns.sort_unstable();
        Sorted { ns }
    }
}

impl Sorted {
    /// The `percent`th percentile, in microseconds: the smallest sample that at least `percent` of 100 are not above
    /// (the nearest-rank definition). `None` without samples.
    pub(super) fn percentile_us(&self, percent: usize) -> Option<f64> {
        let rank = (self.ns.len() * percent).div_ceil(100);
        let ns = *self.ns.get(rank.saturating_sub(1))?;
        Some(rounded(ns as f64 / 1_000.0))
    }
}

/// Three decimals: the clock has no more.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(us: &[u64]) -> [Option<f64>; 4] {
        let mut samples = Samples::default();
        for us in us {
            samples.add(Duration::from_micros(*us));
        }
        let sorted = samples.sorted();
        [1, 50, 99, 100].map(|percent| sorted.percentile_us(percent))
    }

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        assert_eq!(percentiles(&[]), [None; 4]);
        assert_eq!(percentiles(&[7]), [Some(7.0); 4]);
        assert_eq!(percentiles(&[40, 10, 30, 20]), [10.0, 20.0, 40.0, 40.0].map(Some));
        let hundred: Vec<_> = (1..=100).rev().collect();
        assert_eq!(percentiles(&hundred), [1.0, 50.0, 99.0, 100.0].map(Some));
        let two_hundred: Vec<_> = (1..=200).collect();
        assert_eq!(percentiles(&two_hundred), [2.0, 100.0, 198.0, 200.0].map(Some));
    }

    #[test]
    fn nanoseconds_are_three_decimals() {
        let mut samples = Samples::default();
        samples.add(Duration::from_nanos(1_234));
        assert_eq!(samples.sorted().percentile_us(50), Some(1.234));
    }

    #[test]
    fn only_so_many_are_kept_the_latest_ones() {
        let mut samples = Samples::default();
        for _ in 0..SAMPLES_MAX {
            samples.add(Duration::from_micros(1));
        }
        for _ in 0..SAMPLES_MAX {
            samples.add(Duration::from_micros(2));
        }
        let sorted = samples.sorted();
        assert_eq!(sorted.ns.len(), SAMPLES_MAX);
        assert_eq!(sorted.percentile_us(1), Some(2.0));
    }
}
