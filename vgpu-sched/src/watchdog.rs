//! When a tenant's work has stopped to move, and what is done about it.

use crate::time::{Duration, Instant};

/// The watchdog's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct WatchdogConfig {
    /// How long a kernel may run while others wait. 10 s where nothing is said; from 1 ms. Short ones kill honest
    /// work, long ones let a hang spoil its neighbours' time. The driver itself resets the GPU after some 4.3 s only
    /// where it cannot switch a kernel out, which is what `neighbour_stall` is for.
    pub kernel_max: Duration,
    /// After how long without progress the bound on work in flight is lifted: kernels may wait for one another. 2 ms
    /// where nothing is said. Short ones give up the bound for any long kernel, long ones hold up work that waits.
    pub stall: Duration,
    /// How long the tenant that was granted beside an overrunning one may be without progress before the overrunner is
    /// killed. 1 s where nothing is said; well below the 4.3 s after which the driver resets the GPU for all.
    pub neighbour_stall: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            kernel_max: Duration::from_millis(10_000),
            stall: Duration::from_millis(2),
            neighbour_stall: Duration::from_millis(1_000),
        }
    }
}

/// What the watchdog wants done. Each is said once, until there was progress or a new lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing moved for a while: more may be submitted than the bound on work in flight allows.
    LiftBound,
    /// End the worker with SIGKILL, now.
    Kill(KillReason),
}

/// Why a worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KillReason {
    /// A kernel ran longer than the tenant's profile allows, and others waited.
    KernelTooLong,
    /// It overran, and its neighbour could not run beside it: the hardware cannot switch it out.
    CannotBeSwitched,
}

/// Watches one lease.
///
/// A stream that is parked, on a callback in the guest or on a value that somebody has to write, is no hang: the host
/// says so, and the time does not count.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    config: WatchdogConfig,
    /// When something in flight last moved; none while nothing is in flight, or what is there is parked.
    moved: Option<Instant>,
    /// Since when others wait.
    contended: Option<Instant>,
    /// Since when the tenant beside this overrunning one has made no progress.
    neighbour: Option<Instant>,
    lifted: bool,
    killed: bool,
}

impl Watchdog {
    /// A watchdog of a lease with nothing in flight.
    pub const fn new(config: WatchdogConfig) -> Self {
        Self { config, moved: None, contended: None, neighbour: None, lifted: false, killed: false }
    }

    /// Work is in flight and something of it moved: it was submitted, or a kernel was done. Nothing in flight, and
    /// nothing but what is parked, is [`Self::rest`].
    pub const fn progress(&mut self, now: Instant) {
        self.moved = Some(now);
        self.lifted = false;
    }

    /// Nothing is in flight, or all that is there is parked.
    pub const fn rest(&mut self) {
        self.moved = None;
        self.lifted = false;
    }

    /// Whether others wait for the GPU.
    pub fn contended(&mut self, now: Instant, others_wait: bool) {
        self.contended = if others_wait { self.contended.or(Some(now)) } else { None };
    }

    /// The lease overran, and a neighbour was granted beside it; or that neighbour made progress just now.
    pub const fn neighbour_moved(&mut self, now: Instant) {
        self.neighbour = Some(now);
    }

    /// No neighbour has work beside this lease.
    pub const fn neighbour_gone(&mut self) {
        self.neighbour = None;
    }

    /// Whether something is in flight that is not parked.
    pub const fn is_watching(&self) -> bool {
        self.moved.is_some()
    }

    /// What is to be done.
    pub fn poll(&mut self, now: Instant) -> Option<Verdict> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.kill_at()) || due(self.switch_at()) {
            let reason =
                if due(self.kill_at()) { KillReason::KernelTooLong } else { KillReason::CannotBeSwitched };
            self.killed = true;
            return Some(Verdict::Kill(reason));
        }
        if due(self.lift_at()) {
            self.lifted = true;
            return Some(Verdict::LiftBound);
        }
        None
    }

    /// When [`Self::poll`] has to be called although nothing happened.
    pub fn next_timer(&self) -> Option<Instant> {
        [self.kill_timer(), self.lift_at()].into_iter().flatten().min()
    }

    /// When it would have a worker killed, for a caller that lifts no bounds.
    pub fn kill_timer(&self) -> Option<Instant> {
        [self.kill_at(), self.switch_at()].into_iter().flatten().min()
    }

    /// A kernel counts from its beginning, but no longer than others have waited: what runs alone may take its time,
    /// and is not killed the moment that somebody comes.
    fn kill_at(&self) -> Option<Instant> {
        let since = self.moved?.max(self.contended?);
        (!self.killed).then(|| since.after(self.config.kernel_max))
    }

    fn switch_at(&self) -> Option<Instant> {
        // What the overrunner says of itself does not count: it may say anything.
        let since = self.moved.and(self.neighbour)?;
        (!self.killed).then(|| since.after(self.config.neighbour_stall))
    }

    fn lift_at(&self) -> Option<Instant> {
        let moved = self.moved?;
        (!self.lifted && !self.killed).then(|| moved.after(self.config.stall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default().after(Duration::from_millis(ms))
    }

    fn watchdog() -> Watchdog {
        Watchdog::new(WatchdogConfig::default())
    }

    #[test]
    fn nothing_in_flight_is_never_a_hang() {
        let mut dog = watchdog();
        dog.contended(at(0), true);
        assert_eq!(dog.next_timer(), None);
        assert_eq!(dog.poll(at(1_000_000)), None);
        dog.progress(at(0));
        dog.rest();
        assert_eq!(dog.poll(at(1_000_000)), None, "nor is what is parked");
    }

    #[test]
    fn a_stall_lifts_the_bound_once_until_something_moves() {
        let mut dog = watchdog();
        dog.progress(at(0));
        assert_eq!(dog.next_timer(), Some(at(2)));
        assert_eq!(dog.poll(at(1)), None);
        assert_eq!(dog.poll(at(2)), Some(Verdict::LiftBound));
        assert_eq!(dog.poll(at(3)), None);
        dog.progress(at(4));
        assert_eq!(dog.poll(at(6)), Some(Verdict::LiftBound));
    }

    #[test]
    fn a_kernel_is_killed_only_while_others_wait() {
        let mut dog = watchdog();
        dog.progress(at(0));
        assert_eq!(dog.poll(at(60_000)), Some(Verdict::LiftBound));
        assert_eq!(dog.poll(at(60_000)), None);
        dog.contended(at(60_000), true);
        dog.contended(at(65_000), true);
        assert_eq!(dog.next_timer(), Some(at(70_000)));
        dog.contended(at(69_000), false);
        assert_eq!(dog.poll(at(70_000)), None);
        dog.contended(at(71_000), true);
        assert_eq!(dog.poll(at(81_000)), Some(Verdict::Kill(KillReason::KernelTooLong)));
        assert_eq!(dog.poll(at(99_000)), None, "once");
    }

    #[test]
    fn who_cannot_be_switched_out_is_killed_before_the_driver_resets_the_gpu() {
        let mut dog = watchdog();
        dog.progress(at(0));
        dog.contended(at(0), true);
        dog.neighbour_moved(at(90));
        dog.neighbour_moved(at(500));
        assert_eq!(dog.poll(at(1_499)), Some(Verdict::LiftBound));
        assert_eq!(dog.poll(at(1_500)), Some(Verdict::Kill(KillReason::CannotBeSwitched)));
        let mut dog = watchdog();
        dog.progress(at(0));
        dog.neighbour_moved(at(90));
        dog.neighbour_gone();
        assert_eq!(dog.poll(at(1_500)), Some(Verdict::LiftBound));
        assert_eq!(dog.poll(at(5_000)), None);
    }
}
