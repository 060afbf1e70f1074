//! What the scheduler keeps of a tenant, and of one that holds the GPU.

use super::config::{Cap, Class, LeaseTenant};
use crate::tag::Tag;
use crate::time::{Duration, Instant};

/// Where a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// It has nothing to run, or may not run.
    Idle,
    /// It waits for a lease.
    Ready,
    /// It waits for its cap.
    Capped,
    /// It holds a lease.
    Holding,
}

#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) weight: u32,
    pub(super) class: Class,
    pub(super) reservation: Option<Tag>,
    pub(super) cap: Option<Capped>,
    pub(super) has_work: bool,
    pub(super) suspended: bool,
    pub(super) place: Place,
    /// All service it was charged, as virtual time.
    pub(super) time: i128,
    /// Its time as the clock knows it, while it is a member. Less than `time` where it was served beyond its lease or
    /// beyond its share: the clock does not move for that, so nobody else's lag does.
    pub(super) member: Option<i128>,
    pub(super) quantum: Duration,
    /// The longest hold that its deadline allows for: the quantum, and what it took to drain so far.
    pub(super) ceiling: Duration,
    pub(super) deadline: i128,
    pub(super) drain: Duration,
    pub(super) ready_since: Instant,
    pub(super) epoch: u64,
    pub(super) billed_ns: u64,
    pub(super) leases: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Capped {
    pub(super) tag: Tag,
    pub(super) burst: Duration,
}

impl Capped {
    pub(super) const fn new(cap: Cap, now: Instant) -> Self {
        Self { tag: Tag::new(cap.share, now), burst: cap.burst }
    }

    /// When it may run again: when its tag is no further ahead than the time in which its share makes up the burst.
    pub(super) fn ready_at(&self) -> Instant {
        let share = u128::from(self.tag.share().millionths());
        let whole = u128::from(crate::weight::Share::WHOLE.millionths());
        // 2^64 times 2^20 fits in 128 bits.
        let slack = u64::try_from(u128::from(self.burst.as_nanos()) * whole / share).unwrap_or(u64::MAX);
        Instant::from_nanos(self.tag.at().as_nanos().saturating_sub(slack))
    }
}

impl Tenant {
    pub(super) fn new(config: LeaseTenant, now: Instant, drain: Duration) -> Self {
        Self {
            weight: config.weight.get(),
            class: config.class,
            reservation: config.reservation.map(|share| Tag::new(share, now)),
            cap: config.cap.map(|cap| Capped::new(cap, now)),
            has_work: false,
            suspended: false,
            place: Place::Idle,
            time: 0,
            member: None,
            quantum: Duration::default(),
            ceiling: Duration::default(),
            deadline: 0,
            drain,
            ready_since: now,
            epoch: 0,
            billed_ns: 0,
            leases: 0,
        }
    }

    pub(super) const fn may_run(&self) -> bool {
        self.has_work && !self.suspended
    }
}

/// A lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) slot: u32,
    pub(super) epoch: u64,
    /// When it was granted.
    pub(super) since: Instant,
    /// When its quantum began: at the grant, or when it was extended.
    pub(super) started: Instant,
    pub(super) quantum: Duration,
    /// When its quantum ends; never while nobody else waits.
    pub(super) until: Option<Instant>,
    /// Service that still moves the clock; without bound while nobody else waits.
    pub(super) room_ns: Option<u64>,
    pub(super) revoked: Option<Instant>,
    /// When the next lease may begin although this one drains.
    pub(super) hand_off: Option<Instant>,
    /// It has not drained in time, and keeps nobody out any more.
    pub(super) overrun: bool,
    pub(super) idle_since: Option<Instant>,
}
