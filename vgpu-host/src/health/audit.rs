//! Whether a worker took more than it was lent and billed.
//!
//! A worker counts as controlled by its guest. It allocates inside its credit and runs inside its leases because its own
//! code says so, and a guest that broke that code may do neither. NVML sees what each process really has and does, from
//! outside; this compares the two over a while. It decides by values alone and knows no process but by its number.

use std::collections::BTreeMap;

use vgpu_sched::{Duration, Instant};

use super::{ProcessUse, SmUse};

/// What is not held against a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct Tolerance {
    /// Memory above what was lent: the driver's context, which nobody is charged for (518 to 527 MiB on an H200), and what the
    /// driver rounds up and keeps. In bytes.
    pub context_bytes: u64,
    /// How long a worker may hold more than that: credit is given back before the driver has freed the memory, and both
    /// are read at different times.
    pub memory_window: Duration,
    /// Over how long time is compared. A bill comes at the end of a lease and NVML's samples a second late, so that
    /// a short window sees differences that the next one takes back.
    pub time_window: Duration,
    /// Time above the bill that is worth an alarm, in percent of the window.
    pub drift_percent: u32,
    /// Time above the bill that no error of measurement explains, in percent of the window.
    pub theft_percent: u32,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            context_bytes: 1 << 30,
            memory_window: Duration::from_millis(5_000),
            time_window: Duration::from_millis(10_000),
            drift_percent: 5,
            theft_percent: 15,
        }
    }
}

/// Readings in a row that must show too much memory, however far apart they are.
const READINGS_MIN: u32 = 3;

/// NVML's samples of time cover this much at most; between two samples that are further apart nothing was seen.
const SAMPLE_US_MAX: u64 = 1_000_000;

/// What the host knows that a worker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it")]
pub struct Owed {
    /// Device memory that was lent to its session, in bytes.
    pub lent_bytes: u64,
    /// GPU time that it was billed since it started, in nanoseconds; `None` where nobody bills.
    pub billed_ns: Option<u64>,
}

/// A worker that took too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// It holds memory that it was not lent.
    #[error(
        "it holds {used_bytes} bytes of device memory; lent to it and allowed for its context are {allowed_bytes}"
    )]
    Memory {
        /// What it holds.
        used_bytes: u64,
        /// What it may hold at most.
        allowed_bytes: u64,
    },
    /// It runs a little more than it is billed: an alarm, and no proof.
    #[error("kernels ran for {} ms of {} ms; billed were {} ms", used_ns / 1_000_000, window_ns / 1_000_000, billed_ns / 1_000_000)]
    Drift {
        /// Time that kernels of it ran.
        used_ns: u64,
        /// Time that it was billed.
        billed_ns: u64,
        /// The window.
        window_ns: u64,
    },
    /// It runs without being billed.
    #[error("kernels ran for {} ms of {} ms; billed were {} ms", used_ns / 1_000_000, window_ns / 1_000_000, billed_ns / 1_000_000)]
    GpuTime {
        /// Time that kernels of it ran.
        used_ns: u64,
        /// Time that it was billed.
        billed_ns: u64,
        /// The window.
        window_ns: u64,
    },
}

impl Finding {
    /// Whether it shows that the worker cheats.
    pub const fn is_cheating(self) -> bool {
        matches!(self, Self::Memory { .. } | Self::GpuTime { .. })
    }
}

/// Compares over a while.
#[derive(Debug)]
pub struct Audit {
    tolerance: Tolerance,
    workers: BTreeMap<u32, Worker>,
}

#[derive(Debug, Default)]
struct Worker {
    /// Since when, and in how many readings, it holds too much.
    over: Option<(Instant, u32)>,
    time: Option<Window>,
    /// Where the newest sample of its time ended.
    sampled_us: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    billed_ns: u64,
    used_ns: u64,
}

impl Audit {
    /// An audit that has seen nobody.
    pub const fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, workers: BTreeMap::new() }
    }

    /// A worker was read. Returns what it is found out to do.
    pub fn read(&mut self, now: Instant, used: &ProcessUse, owed: Owed) -> Option<Finding> {
        let tolerance = self.tolerance;
        let worker = self.workers.entry(used.pid).or_default();
        let memory =
            used.memory_bytes.and_then(|bytes| worker.memory(now, bytes, owed.lent_bytes, &tolerance));
        // Both are looked at each time, so that what is summed up is whole.
        let time = worker.time(now, used.sm, owed.billed_ns, &tolerance);
        memory.or(time)
    }

    /// A worker is gone; its number may be another's.
    pub fn forget(&mut self, pid: u32) {
        self.workers.remove(&pid);
    }
}

impl Worker {
    fn memory(&mut self, now: Instant, used: u64, lent: u64, tolerance: &Tolerance) -> Option<Finding> {
        let allowed = lent.saturating_add(tolerance.context_bytes);
        if used <= allowed {
            self.over = None;
            return None;
        }
        let (since, readings) =
            self.over.map_or((now, 1), |(since, readings)| (since, readings.saturating_add(1)));
        self.over = Some((since, readings));
        let long = now.since(since) >= tolerance.memory_window && readings >= READINGS_MIN;
        long.then_some(Finding::Memory { used_bytes: used, allowed_bytes: allowed })
    }

    fn time(
        &mut self,
        now: Instant,
        sm: Option<SmUse>,
        billed: Option<u64>,
        tolerance: &Tolerance,
    ) -> Option<Finding> {
        let used_ns = sm.map_or(0, |sm| self.ran_ns(sm));
        let billed_ns = billed?;
        let fresh = Window { began: now, billed_ns, used_ns: 0 };
        let Some(window) = &mut self.time else {
            self.time = Some(fresh);
            return None;
        };
        window.used_ns = window.used_ns.saturating_add(used_ns);
        let window_ns = now.since(window.began).as_nanos();
        if window_ns < tolerance.time_window.as_nanos() {
            return None;
        }
        let (used_ns, billed_ns) = (window.used_ns, billed_ns.saturating_sub(window.billed_ns));
        self.time = Some(fresh);
        let excess = u128::from(used_ns.saturating_sub(billed_ns)) * 100;
        let above = |percent: u32| excess > u128::from(window_ns) * u128::from(percent);
        if above(tolerance.theft_percent) {
            Some(Finding::GpuTime { used_ns, billed_ns, window_ns })
        } else if above(tolerance.drift_percent) {
            Some(Finding::Drift { used_ns, billed_ns, window_ns })
        } else {
            None
        }
    }

    /// How long kernels ran since the sample before. The first one only says where to begin.
    fn ran_ns(&mut self, sm: SmUse) -> u64 {
        let Some(before) = self.sampled_us.replace(sm.until_us) else { return 0 };
        let span_us = sm.until_us.saturating_sub(before).min(SAMPLE_US_MAX);
        // Microseconds times percent, times 10 for nanoseconds.
        span_us * u64::from(sm.percent.min(100)) * 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const PID: u32 = 7;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn holds(mib: u64) -> ProcessUse {
        ProcessUse { pid: PID, memory_bytes: Some(mib * MIB), sm: None }
    }

    const fn lent(mib: u64) -> Owed {
        Owed { lent_bytes: mib * MIB, billed_ns: None }
    }

    #[test]
    fn a_worker_with_its_context_and_what_it_was_lent_is_honest() {
        let mut audit = Audit::new(Tolerance::default());
        assert!((0..100).all(|n| audit.read(at(n * 1_000), &holds(64 + 1_024), lent(64)).is_none()));
    }

    #[test]
    fn a_worker_that_holds_more_for_a_while_is_found() {
        let mut audit = Audit::new(Tolerance::default());
        let found: Vec<_> = (0..6).map(|n| audit.read(at(n * 1_000), &holds(64 + 1_025), lent(64))).collect();
        assert!(found[..5].iter().all(Option::is_none), "{found:?}");
        let expected = Finding::Memory { used_bytes: 1_089 * MIB, allowed_bytes: 1_088 * MIB };
        assert_eq!(found[5], Some(expected));
        assert!(expected.is_cheating());
    }

    #[test]
    fn memory_that_is_given_back_late_is_forgiven() {
        let mut audit = Audit::new(Tolerance::default());
        for n in 0..50 {
            let used = if n % 5 == 4 { 64 } else { 2_048 };
            assert_eq!(audit.read(at(n * 1_000), &holds(used), lent(64)), None);
        }
    }

    #[test]
    fn two_readings_are_no_proof_however_far_apart() {
        let mut audit = Audit::new(Tolerance::default());
        assert_eq!(audit.read(at(0), &holds(2_048), lent(0)), None);
        assert_eq!(audit.read(at(60_000), &holds(2_048), lent(0)), None);
        assert!(audit.read(at(120_000), &holds(2_048), lent(0)).is_some());
    }

    #[test]
    fn a_number_that_is_anothers_now_starts_anew() {
        let mut audit = Audit::new(Tolerance::default());
        assert!((0..5).all(|n| audit.read(at(n * 1_000), &holds(2_048), lent(0)).is_none()));
        audit.forget(PID);
        assert_eq!(audit.read(at(5_000), &holds(2_048), lent(0)), None);
    }

    /// Reads each second for `seconds`, of which kernels ran `percent` and `billed_ms` of each second were billed.
    fn run(audit: &mut Audit, seconds: u64, percent: u32, billed_ms: u64) -> Vec<Finding> {
        let read = |n: u64| {
            let sm = Some(SmUse { percent, until_us: n * 1_000_000 });
            let owed = Owed { lent_bytes: 0, billed_ns: Some(n * billed_ms * 1_000_000) };
            audit.read(at(n * 1_000), &ProcessUse { pid: PID, memory_bytes: None, sm }, owed)
        };
        (0..=seconds).filter_map(read).collect()
    }

    #[test]
    fn who_is_billed_for_what_it_runs_is_honest() {
        for (percent, billed_ms) in [(100, 1_000), (30, 300), (50, 460), (0, 0), (10, 900)] {
            let found = run(&mut Audit::new(Tolerance::default()), 100, percent, billed_ms);
            assert_eq!(found, [], "{percent} %, billed {billed_ms} ms a second");
        }
    }

    #[test]
    fn who_runs_without_a_bill_is_found() {
        let found = run(&mut Audit::new(Tolerance::default()), 10, 30, 100);
        let (used_ns, billed_ns, window_ns) = (3_000_000_000, 1_000_000_000, 10_000_000_000);
        assert_eq!(found, [Finding::GpuTime { used_ns, billed_ns, window_ns }]);
        assert!(found[0].is_cheating());
    }

    #[test]
    fn a_small_difference_is_an_alarm_and_no_proof() {
        let found = run(&mut Audit::new(Tolerance::default()), 20, 30, 200);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found.iter().all(|finding| matches!(finding, Finding::Drift { .. }) && !finding.is_cheating())
        );
    }

    #[test]
    fn time_that_nobody_saw_is_not_held_against_it() {
        let mut audit = Audit::new(Tolerance::default());
        let mut read = |n: u64, sm| {
            let owed = Owed { lent_bytes: 0, billed_ns: Some(n * 1_000_000) };
            audit.read(at(n * 1_000), &ProcessUse { pid: PID, memory_bytes: None, sm }, owed)
        };
        // Idle for a minute between two busy samples of a second.
        assert_eq!(read(0, Some(SmUse { percent: 100, until_us: 0 })), None);
        assert!((1..60).all(|n| read(n, None).is_none()));
        let found = read(60, Some(SmUse { percent: 100, until_us: 60_000_000 }));
        assert!(!found.is_some_and(Finding::is_cheating), "{found:?}");
    }

    #[test]
    fn where_nobody_bills_time_is_not_looked_at() {
        let mut audit = Audit::new(Tolerance::default());
        for n in 0..100 {
            let sm = Some(SmUse { percent: 100, until_us: n * 1_000_000 });
            assert_eq!(
                audit.read(at(n * 1_000), &ProcessUse { pid: PID, memory_bytes: None, sm }, lent(0)),
                None
            );
        }
    }
}
