//! What a tenant may do in a second, all limits together.

use crate::bucket::{Bucket, Rate};
use crate::time::Instant;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "each has its place in the tables")]
pub enum Limit {
    /// Kernels and graphs that are launched.
    Launches,
    /// Bytes that are copied, between host and device and on the device.
    Bytes,
    /// Nanoseconds of GPU time, beside the cap of [`crate::lease`], for sums over several GPUs.
    GpuTime,
    /// Sessions that begin.
    Sessions,
    /// Calls that take the host's time without the GPU: memory, modules, contexts.
    ControlCalls,
}

impl Limit {
    /// All limits.
    pub const ALL: [Self; 5] =
        [Self::Launches, Self::Bytes, Self::GpuTime, Self::Sessions, Self::ControlCalls];
}

/// The limits of one tenant. What has none passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    buckets: [Option<Bucket>; Limit::ALL.len()],
    refused: [u64; Limit::ALL.len()],
}

impl Limits {
    /// Sets or lifts a limit. One that was there before keeps what is owed.
    pub fn set(&mut self, now: Instant, limit: Limit, rate: Option<Rate>) {
        let bucket = &mut self.buckets[limit as usize];
        match (bucket.as_mut(), rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(now, rate),
            (_, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
        }
    }

    /// Takes `count` of what is limited.
    ///
    /// # Errors
    /// The limit is reached. Nothing was taken; the error says when there is enough. A call that may wait is held back
    /// until then, one that may not is refused.
    pub fn take(&mut self, now: Instant, limit: Limit, count: u64) -> Result<(), Instant> {
        let Some(bucket) = &mut self.buckets[limit as usize] else { return Ok(()) };
        let taken = bucket.take(now, count);
        self.refused[limit as usize] += u64::from(taken.is_err());
        taken
    }

    /// When nothing of a limit is owed any more, for what was counted by [`Self::charge`]; none where nothing is.
    pub fn due(&mut self, now: Instant, limit: Limit) -> Option<Instant> {
        self.buckets[limit as usize].as_mut()?.due(now)
    }

    /// Counts what has happened already, such as GPU time.
    pub fn charge(&mut self, limit: Limit, count: u64) {
        if let Some(bucket) = &mut self.buckets[limit as usize] {
            bucket.charge(count);
        }
    }

    /// How often a limit was reached.
    pub const fn refused(&self, limit: Limit) -> u64 {
        self.refused[limit as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn each_limit_is_for_itself() {
        let now = Instant::default();
        let mut limits = Limits::default();
        assert_eq!(limits.take(now, Limit::Launches, u64::MAX), Ok(()));
        limits.set(now, Limit::Launches, Some(Rate::new(1, 1).unwrap()));
        assert_eq!(limits.take(now, Limit::Launches, 1), Ok(()));
        let later = now.after(Duration::from_millis(1_000));
        assert_eq!(limits.take(now, Limit::Launches, 1), Err(later));
        assert_eq!(limits.take(now, Limit::Bytes, 1), Ok(()));
        assert_eq!(Limit::ALL.map(|limit| limits.refused(limit)), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_limit_set_again_clears_no_debt() {
        let now = Instant::default();
        let mut limits = Limits::default();
        let rate = Some(Rate::new(10, 10).unwrap());
        limits.set(now, Limit::GpuTime, rate);
        limits.charge(Limit::GpuTime, 30);
        limits.set(now, Limit::GpuTime, rate);
        assert_eq!(limits.take(now, Limit::GpuTime, 1), Err(now.after(Duration::from_millis(2_100))));
        limits.set(now, Limit::GpuTime, None);
        limits.charge(Limit::GpuTime, 30);
        assert_eq!(limits.take(now, Limit::GpuTime, 1), Ok(()));
    }
}
