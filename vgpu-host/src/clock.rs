//! The monotonic clock, as decisions see it, and the clock of the day, as people do.

use vgpu_core::lease::TimeSource;
use vgpu_sched::Instant;

/// Turns the monotonic clock into the scheduler's time, whose origin is the clock's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Time now.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// An instant for timers.
    pub(crate) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        (self.origin + std::time::Duration::from_nanos(at.as_nanos())).into()
    }

    /// Milliseconds since 1970, for people and for what outlasts this process. It may jump; 0 before 1970.
    pub(crate) fn unix_ms() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The machine's monotonic clock: the same for the daemon and all workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedClock;

impl TimeSource for SharedClock {
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // It counts from the machine's start, so both parts are small and positive.
        let nanos =
            u128::from(time.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs());
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
