//! How much of something may be used over time.

use crate::time::{Duration, Instant};

/// An allowance of units that comes back as time passes, up to a sum that may be used at once.
///
/// It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371): instead of a level, it keeps the
/// time at which it is full again, so nothing has to be done while nothing is used, and nothing is lost to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    units_per_second: u64,
    burst: Duration,
    full_at: Instant,
}

impl Allowance {
    /// An allowance that is full: `burst_units` may be used at once, and `units_per_second` (at least 1) in the long run.
    pub fn new(units_per_second: u64, burst_units: u64) -> Self {
        let units_per_second = units_per_second.max(1);
        let burst = time_of(burst_units, units_per_second);
        Self { units_per_second, burst, full_at: Instant::default() }
    }

    /// Uses so many units, if there are so many; else none of them, and answers false.
    pub fn take(&mut self, now: Instant, units: u64) -> bool {
        let full_at = self.full_at.max(now).after(time_of(units, self.units_per_second));
        if full_at.since(now) > self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

/// The time in which so many units come back, rounded up; the longest span when that does not fit.
fn time_of(units: u64, units_per_second: u64) -> Duration {
    let nanos = (u128::from(units) * 1_000_000_000).div_ceil(u128::from(units_per_second));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_sum_may_be_used_at_once_and_comes_back() {
        let mut allowance = Allowance::new(10, 5);
        let at = Instant::from_nanos;
        assert!(allowance.take(at(0), 2) && allowance.take(at(0), 3));
        assert!(!allowance.take(at(0), 1), "nothing is left");
        assert!(!allowance.take(at(SECOND / 10 - 1), 1));
        assert!(allowance.take(at(SECOND / 10), 1), "one comes back in a tenth of a second");
        assert!(!allowance.take(at(3 * SECOND), 6), "it never holds more than the sum");
        assert!(allowance.take(at(3 * SECOND), 5));
        assert!(!allowance.take(at(3 * SECOND), u64::MAX));
    }

    proptest! {
        #[test]
        fn no_more_is_used_than_the_sum_and_what_came_back(
            rate in 1..1_000_000_u64, burst in 0..1_000_000_u64,
            uses in prop::collection::vec((0..SECOND, 0..1_000_000_u64), 1..64)
        ) {
            let mut allowance = Allowance::new(rate, burst);
            let (mut now, mut used) = (0, 0_u128);
            for (pause, units) in uses {
                now += pause;
                if allowance.take(Instant::from_nanos(now), units) {
                    used += u128::from(units);
                }
                let came_back = u128::from(now) * u128::from(rate) / u128::from(SECOND);
                prop_assert!(used <= u128::from(burst) + came_back + 1);
            }
        }
    }
}
