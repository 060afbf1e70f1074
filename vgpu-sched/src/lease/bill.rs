//! Who pays for the time that passes.

use super::clock::{NANO, served};
use super::tenant::Holder;
use super::{Leases, Slot};
use crate::time::{Duration, Instant};

/// Sums over all tenants, for operators and for tests. In whole nanoseconds, so that they can be compared exactly:
/// `billed == busy + shared`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Charged to all tenants for holding the GPU, switches included: the time a switch takes falls into the hold of
    /// the tenant that comes.
    pub billed_ns: u64,
    /// Time in which somebody held the GPU.
    pub busy_ns: u64,
    /// Time that two tenants paid, because one overran and the hardware served both.
    pub shared_ns: u64,
    /// Charged for pauses that a tenant's fault caused.
    pub pauses_ns: u64,
    /// Leases that were granted.
    pub leases: u64,
    /// Leases that did not drain in time.
    pub overruns: u64,
    /// Messages about a lease that is over; they credit and charge nobody.
    pub stale: u64,
}

impl Leases {
    /// Bills the time since the last event. Each overrunner pays, and of the other holders the oldest one: a lease that
    /// begins while the one before still drains is not billed until that has drained.
    pub(super) fn settle(&mut self, to: Instant) {
        let span = to.since(self.now);
        if span == Duration::default() {
            return;
        }
        let start = core::mem::replace(&mut self.now, to);
        if self.holders.is_empty() {
            self.idle_for(span);
            return;
        }
        let mut payers: u64 = 0;
        for at in 0..self.holders.len() {
            if self.pays(at) {
                payers += 1;
                self.bill(at, start, span);
            }
        }
        self.totals.busy_ns += span.as_nanos();
        self.totals.shared_ns += span.as_nanos() * (payers - 1);
    }

    /// Whether a holder pays for the time that passes now.
    fn pays(&self, at: usize) -> bool {
        self.holders[at].overrun || self.holders[..at].iter().all(|older| older.overrun)
    }

    /// Whether somebody else pays for it as well.
    fn is_shared(&self, at: usize) -> bool {
        (0..self.holders.len()).any(|other| other != at && self.pays(other))
    }

    /// Takes a lease away that ended at `end`, which is [`Self::payers_since`] or later. What was billed since then goes
    /// back to its holder, and is billed to the one that begins to pay by that.
    pub(super) fn end_lease(&mut self, at: usize, end: Instant) -> Holder {
        let late = self.now.since(end);
        let heir = (at + 1..self.holders.len()).find(|heir| !self.pays(*heir));
        if late > Duration::default() && self.pays(at) {
            self.refund(at, late);
        }
        let holder = self.holders.remove(at);
        self.payers_since = end;
        if let Some(heir) = heir.map(|heir| heir - 1)
            && late > Duration::default()
            && self.pays(heir)
        {
            self.bill(heir, end, late);
            let shared = self.is_shared(heir);
            *if shared { &mut self.totals.shared_ns } else { &mut self.totals.busy_ns } += late.as_nanos();
        }
        holder
    }

    /// Nobody used the GPU. Debts shrink as if every tenant had used its share.
    fn idle_for(&mut self, span: Duration) {
        if self.clock.is_empty() && self.weights > 0 {
            self.clock.rest(i128::from(span.as_nanos()) * NANO / i128::from(self.weights));
            self.cross();
        }
    }

    fn bill(&mut self, at: usize, start: Instant, span: Duration) {
        let slot = self.holders[at].slot;
        self.totals.billed_ns += span.as_nanos();
        let tenant = &mut self.tenants[slot as usize];
        tenant.billed_ns += span.as_nanos();
        if let Some(tag) = &mut tenant.reservation {
            tag.served(span);
        }
        if let Some(cap) = &mut tenant.cap {
            cap.tag.forget_before(start);
            cap.tag.served(span);
        }
        let mut left = span.as_nanos();
        while left > 0 {
            left -=
                if self.competes(slot) { self.serve_member(at, left) } else { self.serve_other(slot, left) };
        }
    }

    /// Whether service of this tenant moves the clock.
    pub(super) fn competes(&self, slot: Slot) -> bool {
        self.tenants[slot as usize].member.is_some() && !self.sets.leaving.contains(slot)
    }

    /// Service that moves the clock, in steps that end where the lease's ceiling or V changes who competes; how much.
    fn serve_member(&mut self, at: usize, left: u64) -> u64 {
        let Holder { slot, room_ns, .. } = self.holders[at];
        let tenant = &mut self.tenants[slot as usize];
        if room_ns == Some(0) {
            // From here on it is served beyond its lease. Its debt grows, the clock and everybody's lag stand still.
            self.sets.leaving.insert(slot, tenant.time);
            self.cross();
            return 0;
        }
        let mut step = room_ns.map_or(left, |room| left.min(room));
        if let Some(time) = self.next_crossing() {
            step = step.min(self.clock.service_until(time));
        }
        let tenant = &mut self.tenants[slot as usize];
        let by = served(step, tenant.weight);
        tenant.time += by;
        tenant.member = Some(tenant.time);
        self.clock.moved(tenant.weight, by);
        self.holders[at].room_ns = room_ns.map(|room| room - step);
        self.cross();
        step
    }

    /// Service beyond a share or a lease. While nobody competes V moves along, so that a tenant that runs alone does
    /// not get deeper into debt.
    fn serve_other(&mut self, slot: Slot, left: u64) -> u64 {
        let now = self.clock.now();
        let tenant = &mut self.tenants[slot as usize];
        // Where V has passed it, it starts from there: what it did not claim then is not saved up for now.
        tenant.time = tenant.time.max(now) + served(left, tenant.weight);
        if self.clock.is_empty() {
            let weights = u64::from(tenant.weight) + self.sets.ahead_weight;
            self.clock.rest(i128::from(left) * NANO / i128::from(weights));
            self.cross();
        }
        left
    }

    /// Takes back what was billed to a holder after its lease had ended.
    fn refund(&mut self, at: usize, span: Duration) {
        let Holder { slot, .. } = self.holders[at];
        // Where another one paid as well, the GPU was busy all the same.
        let shared = self.is_shared(at);
        *if shared { &mut self.totals.shared_ns } else { &mut self.totals.busy_ns } -= span.as_nanos();
        self.totals.billed_ns -= span.as_nanos();
        let tenant = &mut self.tenants[slot as usize];
        tenant.billed_ns -= span.as_nanos();
        if let Some(tag) = &mut tenant.reservation {
            tag.returned(span);
        }
        if let Some(cap) = &mut tenant.cap {
            cap.tag.returned(span);
        }
        // Rounded down, as the charge was rounded up.
        let by = i128::from(span.as_nanos()) * NANO / i128::from(tenant.weight);
        // Its debt came last, so it goes first.
        let Some(member) = tenant.member else {
            tenant.time -= by;
            return;
        };
        let counted = (by - (tenant.time - member)).max(0);
        tenant.time -= by;
        if counted > 0 {
            tenant.member = Some(tenant.time);
            self.clock.moved(tenant.weight, -counted);
            if self.sets.leaving.contains(slot) {
                self.sets.leaving.insert(slot, tenant.time);
                self.cross();
            }
        }
    }
}
