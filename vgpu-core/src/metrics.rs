//! Figures for operators, as values: who collects them shows them as it likes.

/// Buckets for each power of two: a figure read from the histogram is at most a quarter above the true one.
const PARTS: u32 = 4;

/// Buckets in all, for any 64-bit number.
const BUCKETS: usize = (64 * PARTS) as usize;

/// How often what length of time was seen.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, sum_ns: 0 }
    }
}

impl Histogram {
    /// Counts a length of time, in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, in nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The length, in nanoseconds, that so many thousandths of all did not exceed, rounded up by at most a quarter; 0 where
    /// nothing was counted.
    pub fn quantile_ns(&self, thousandths: u64) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let wanted = (u128::from(self.count) * u128::from(thousandths)).div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return top(at);
            }
        }
        u64::MAX
    }

    /// How many did not exceed `ns`, at the histogram's resolution: whole buckets below it.
    pub fn count_up_to(&self, ns: u64) -> u64 {
        self.counts.iter().enumerate().take_while(|(at, _)| top(*at) <= ns).map(|(_, count)| count).sum()
    }
}

/// The bucket of a number: its highest bit, and the two bits behind that.
fn bucket(ns: u64) -> usize {
    if ns < u64::from(PARTS) {
        return ns as usize;
    }
    let bits = ns.ilog2();
    let part = (ns >> (bits - 2)) & u64::from(PARTS - 1);
    ((bits - 1) * PARTS) as usize + part as usize
}

/// The largest number of a bucket.
fn top(at: usize) -> u64 {
    if at < PARTS as usize {
        return at as u64;
    }
    let (bits, part) = (at as u32 / PARTS + 1, at as u64 % u64::from(PARTS));
    let next = (u128::from(u64::from(PARTS) + part + 1)) << (bits - 2);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_lies_in_its_bucket() {
        let mut last = 0;
        for at in 1..BUCKETS - PARTS as usize {
            assert!(top(at) > top(at - 1), "{at}");
            assert_eq!((bucket(top(at - 1) + 1), bucket(top(at))), (at, at));
            last = top(at);
        }
        assert!(last > u64::MAX / 2);
        assert!(bucket(u64::MAX) < BUCKETS);
        for ns in [1_000_u64, 123_456, 1 << 40] {
            assert!(top(bucket(ns)) >= ns && top(bucket(ns)) - ns <= ns / 4);
        }
    }

    #[test]
    fn quantiles_are_what_so_many_did_not_exceed() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(500), 0);
        (0..99).for_each(|_| histogram.add(1_000));
        histogram.add(1_000_000);
        assert_eq!((histogram.count(), histogram.sum_ns()), (100, 1_099_000));
        assert!((1_000..=1_250).contains(&histogram.quantile_ns(500)));
        assert!((1_000..=1_250).contains(&histogram.quantile_ns(990)));
        assert!((1_000_000..=1_250_000).contains(&histogram.quantile_ns(999)));
        assert_eq!((histogram.count_up_to(900), histogram.count_up_to(2_000)), (0, 99));
    }
}
