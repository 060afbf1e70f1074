//! Until when somebody may keep us waiting.

use crate::time::{Duration, Instant};

/// The patience with a silent peer: it starts when the peer connected and does not start again with each byte, so one
/// that sends a byte a second is as silent as one that sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// A deadline `patience` after `now`.
    pub const fn after(now: Instant, patience: Duration) -> Self {
        Self { at: now.after(patience) }
    }

    /// When it passes.
    pub const fn at(self) -> Instant {
        self.at
    }

    /// Whether it has passed.
    pub fn has_passed(self, now: Instant) -> bool {
        now >= self.at
    }

    /// Time left; zero once it has passed.
    pub const fn remaining(self, now: Instant) -> Duration {
        self.at.since(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_passed_exactly_when_nothing_remains(
            start in any::<u64>(), patience in 1..u64::MAX, later in any::<u64>()
        ) {
            let start = Instant::from_nanos(start);
            let deadline = Deadline::after(start, Duration::from_nanos(patience));
            let now = start.after(Duration::from_nanos(later));
            prop_assert_eq!(deadline.has_passed(now), deadline.remaining(now) == Duration::default());
            prop_assert_eq!(deadline.has_passed(now), now >= deadline.at());
        }
    }
}
