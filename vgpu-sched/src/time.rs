//! Points and spans of time, in whole nanoseconds.
//!
//! Own types rather than the standard library's: those of `std` need a clock to be made, and a decision that is tested
//! or replayed must get its time from its caller.

/// A point in time, in nanoseconds since an origin that the caller chooses and keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// The instant that many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// The instant that much later. Stays at the end of time, 584 years after the origin, rather than wrap.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(span.nanos) }
    }

    /// Time since `earlier`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration { nanos: self.nanos.saturating_sub(earlier.nanos) }
    }
}

/// A span of time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanos: u64,
}

impl Duration {
    /// A span of that many nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// A span of that many milliseconds; the longest span when that does not fit.
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// Nanoseconds of the span.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end.after(Duration::from_nanos(1)), end);
        assert_eq!(Instant::default().since(end), Duration::default());
        assert_eq!(Duration::from_millis(u64::MAX).as_nanos(), u64::MAX);
    }

    #[test]
    fn since_undoes_after() {
        let start = Instant::from_nanos(5);
        let span = Duration::from_millis(3);
        assert_eq!(start.after(span).since(start), span);
    }
}
