//! Limits on rates: so many launches, bytes, sessions or calls in a second, and so many at once.

use core::fmt;

use crate::time::{Duration, Instant};

/// Parts of a token. With as many parts as a second has nanoseconds, a nanosecond at one token a second is one part,
/// and nothing is ever rounded.
const PARTS: i128 = 1_000_000_000;

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

/// A rate that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRate {
    /// Nothing ever comes in, so nothing would ever go out once the burst is spent.
    NothingPerSecond,
    /// Nothing may be taken at once.
    NoBurst,
}

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingPerSecond => {
                "a rate of zero lets nothing pass; suspend the tenant, or set at least 1"
            }
            Self::NoBurst => "a burst of zero lets nothing pass; set at least 1",
        })
    }
}

impl core::error::Error for BadRate {}

impl Rate {
    /// `per_second` on average, and `burst` at once after a pause. Any number from 1 will do for each: small bursts
    /// spread what comes, large ones let it pass as it comes.
    ///
    /// # Errors
    /// One of them is zero.
    pub const fn new(per_second: u64, burst: u64) -> Result<Self, BadRate> {
        if per_second == 0 {
            return Err(BadRate::NothingPerSecond);
        }
        if burst == 0 {
            return Err(BadRate::NoBurst);
        }
        Ok(Self { per_second, burst })
    }

    /// Tokens by second.
    pub const fn per_second(self) -> u64 {
        self.per_second
    }

    /// Tokens at once.
    pub const fn burst(self) -> u64 {
        self.burst
    }
}

/// A token bucket: full at the start, filled at a rate, and what does not fit is lost.
///
/// Over any span of `t` seconds it lets pass at most `per_second * t + burst` and one piece that is larger than the
/// burst; to whoever always asks it lets pass no less than `per_second * t`. Exactly so, over any time: nothing is
/// rounded.
///
/// A clock that jumps ahead fills the bucket once; one that jumps back fills nothing until it moves on from there.
///
/// ```
/// use vgpu_sched::{Bucket, Duration, Instant, Rate};
///
/// let mut launches = Bucket::new(Rate::new(1_000, 2)?, Instant::default());
/// let now = Instant::default();
/// assert!(launches.take(now, 2).is_ok());
/// assert_eq!(launches.take(now, 1), Err(now.after(Duration::from_millis(1))));
/// # Ok::<(), vgpu_sched::BadRate>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Parts of tokens that are there; below zero after a piece that was larger than the burst, or a correction.
    level: i128,
    last: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: i128::from(rate.burst) * PARTS, last: now }
    }

    /// Takes `count` tokens.
    ///
    /// A piece that is larger than the burst passes when the bucket is full, and is owed; so it waits like everything
    /// else, and is paid for.
    ///
    /// # Errors
    /// There are not enough. Nothing was taken; at the instant in the error there will be.
    pub fn take(&mut self, now: Instant, count: u64) -> Result<(), Instant> {
        self.fill(now);
        let needed = i128::from(count.min(self.rate.burst)) * PARTS;
        if self.level < needed {
            return Err(self.ready_at(needed - self.level));
        }
        self.charge(count);
        Ok(())
    }

    /// Takes tokens for what has happened already, whether they are there or not.
    pub fn charge(&mut self, count: u64) {
        // The debt ends at what 2^64 tokens are: an `i128` holds that a thousand times over.
        let floor = -i128::from(u64::MAX) * PARTS;
        self.level = (self.level - i128::from(count) * PARTS).max(floor);
        self.invariants();
    }

    /// When nothing is owed any more; none where nothing is.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        (self.level < 0).then(|| self.ready_at(-self.level))
    }

    /// When so many parts will have come in.
    fn ready_at(&self, missing: i128) -> Instant {
        let per_nano = i128::from(self.rate.per_second);
        let nanos = u64::try_from((missing + per_nano - 1) / per_nano).unwrap_or(u64::MAX);
        self.last.after(Duration::from_nanos(nanos))
    }

    /// Gives tokens back that were taken for what did not happen.
    pub fn give_back(&mut self, count: u64) {
        self.level = (self.level + i128::from(count) * PARTS).min(self.full());
        self.invariants();
    }

    /// Whole tokens that are there now.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.level / PARTS).unwrap_or(0)
    }

    /// Another rate from now on. What is there stays, as far as it fits; so does what is owed.
    pub fn set_rate(&mut self, now: Instant, rate: Rate) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(self.full());
        self.invariants();
    }

    fn fill(&mut self, now: Instant) {
        let passed = i128::from(now.since(self.last).as_nanos());
        self.last = now;
        // 2^64 nanoseconds times 2^64 tokens by second would pass the end of an `i128`; the bucket is full long before.
        let filled = passed.saturating_mul(i128::from(self.rate.per_second));
        self.level = self.level.saturating_add(filled).min(self.full());
        self.invariants();
    }

    fn full(&self) -> i128 {
        i128::from(self.rate.burst) * PARTS
    }

    fn invariants(&self) {
        debug_assert!(self.level <= self.full(), "a bucket holds no more than its burst");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_owed_is_due_when_it_has_come_in() {
        let at = |ms| Instant::default().after(Duration::from_millis(ms));
        let mut bucket = Bucket::new(Rate::new(1_000, 10).unwrap(), at(0));
        assert_eq!(bucket.due(at(0)), None);
        bucket.charge(10);
        assert_eq!(bucket.due(at(0)), None, "an empty bucket owes nothing");
        bucket.charge(5);
        assert_eq!(
            (bucket.due(at(0)), bucket.due(at(4)), bucket.due(at(5))),
            (Some(at(5)), Some(at(5)), None)
        );
    }

    #[test]
    fn a_rate_lets_something_pass() {
        assert_eq!(Rate::new(0, 1), Err(BadRate::NothingPerSecond));
        assert_eq!(Rate::new(1, 0), Err(BadRate::NoBurst));
    }

    #[test]
    fn a_piece_larger_than_the_burst_waits_for_a_full_bucket_and_is_owed() {
        let mut bucket = Bucket::new(Rate::new(10, 10).unwrap(), Instant::default());
        assert_eq!(bucket.take(Instant::default(), 100), Ok(()));
        let again = Instant::default().after(Duration::from_millis(9_100));
        assert_eq!(bucket.take(Instant::default(), 1), Err(again));
        assert_eq!(bucket.take(again, 1), Ok(()));
        assert_eq!(bucket.available(again), 0);
    }

    #[test]
    fn a_clock_that_jumps_neither_fills_twice_nor_starves() {
        let hour = Instant::from_nanos(3_600_000_000_000);
        let mut bucket = Bucket::new(Rate::new(5, 3).unwrap(), hour);
        bucket.charge(3);
        assert_eq!(bucket.available(Instant::default()), 0, "back: nothing came in");
        assert_eq!(bucket.available(Instant::from_nanos(200_000_000)), 1, "and it goes on from there");
        assert_eq!(bucket.available(Instant::from_nanos(u64::MAX)), 3);
        bucket.give_back(7);
        assert_eq!(bucket.available(Instant::from_nanos(u64::MAX)), 3);
    }

    proptest! {
        /// Over each span that begins and ends with a taking: no more than the rate, the burst and one large piece; and
        /// who waits until the instant in the error gets what it wants then, no earlier.
        #[test]
        fn it_keeps_its_rate_exactly(
            per_second in 1..u64::from(u32::MAX),
            burst in 1..1_000_u64,
            steps in proptest::collection::vec((0..2_000_000_000_u64, 1..1_500_u64), 1..60),
        ) {
            let mut bucket = Bucket::new(Rate::new(per_second, burst).unwrap(), Instant::default());
            let mut now = Instant::default();
            let mut taken: alloc::vec::Vec<(u64, u64)> = alloc::vec::Vec::new();
            for (pause, count) in steps {
                now = now.after(Duration::from_nanos(pause));
                if let Err(at) = bucket.take(now, count) {
                    let before = Instant::from_nanos(at.as_nanos() - 1);
                    prop_assert!(before < now || bucket.take(before, count).is_err());
                    now = at;
                    prop_assert_eq!(bucket.take(now, count), Ok(()));
                }
                taken.push((now.as_nanos(), count));
            }
            for (at, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0_u128;
                for (end, count) in &taken[at..] {
                    sum += u128::from(*count);
                    let large = taken[at..].iter().map(|(_, count)| count.saturating_sub(burst)).max().unwrap_or(0);
                    let allowed = u128::from(per_second) * u128::from(end - start)
                        + u128::from(burst + large) * 1_000_000_000;
                    prop_assert!(sum * 1_000_000_000 <= allowed);
                }
            }
        }

        /// A year in steps of any size lets pass what a year in one step does.
        #[test]
        fn nothing_is_lost_in_small_steps(per_second in 1..1_000_u64, step in 1..3_000_000_u64) {
            let mut bucket = Bucket::new(Rate::new(per_second, u64::from(u32::MAX)).unwrap(), Instant::default());
            bucket.charge(u64::from(u32::MAX));
            for at in 1..=1_000 {
                bucket.available(Instant::from_nanos(at * step));
            }
            let exact = u128::from(per_second) * u128::from(1_000 * step) / 1_000_000_000;
            prop_assert_eq!(u128::from(bucket.available(Instant::from_nanos(1_000 * step))), exact);
        }
    }
}
