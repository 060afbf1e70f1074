//! What is to be done now.

use super::clock::served;
use super::config::Class;
use super::tenant::{Holder, Place};
use super::{Decision, Leases, Reason, Slot};
use crate::admission::TenantId;
use crate::time::{Duration, Instant};

/// How soon after one look at a tenant of the latency class that is not eligible yet the next one may come.
const ELIGIBLE_CHECK: Duration = Duration::from_nanos(10_000);

impl Leases {
    /// What is to be done at `now`, one thing at a time; call it after each event and at [`Self::next_timer`], until it
    /// answers nothing.
    pub fn poll(&mut self, now: Instant) -> Option<Decision> {
        self.settle(now);
        while let Some((slot, _)) = self.sets.capped.peek().filter(|(_, at)| *at <= self.now) {
            self.sets.capped.remove(slot);
            self.enqueue(slot);
        }
        let decided = (0..self.holders.len()).find_map(|at| self.review(at));
        decided.or_else(|| self.pick().map(|(slot, competes)| self.grant(slot, competes)))
    }

    /// When [`Self::poll`] has to be called although nothing happened; `None` when only an event can change anything.
    pub fn next_timer(&self) -> Option<Instant> {
        let holders = self.holders.iter().flat_map(|holder| self.timers(holder));
        let capped = self.sets.capped.peek().map(|(_, at)| at);
        holders.chain([capped]).flatten().filter(|at| *at > self.now).min()
    }

    fn timers(&self, holder: &Holder) -> [Option<Instant>; 4] {
        let Some(revoked) = holder.revoked else {
            let idle = holder.idle_since.map(|since| since.after(self.config.idle_grace));
            return [holder.until, idle, self.interruptible_at(holder), None];
        };
        let overrun = (!holder.overrun).then(|| self.overrun_at(holder, revoked));
        [None, None, overrun, holder.hand_off]
    }

    /// When the latency class may interrupt, at the latest when one of it will be eligible.
    fn interruptible_at(&self, holder: &Holder) -> Option<Instant> {
        let time = self.sets.latency.least()?;
        let run = holder.since.after(self.config.run_min);
        if self.tenants[holder.slot as usize].class == Class::Latency {
            return None;
        }
        if time <= self.clock.now() {
            return Some(run);
        }
        let eligible = self.clock.service_until(time);
        // V stands still where the holder is served beyond its share; then this asks again, but not without end.
        let eligible = Duration::from_nanos(eligible).max(ELIGIBLE_CHECK);
        Some(run.max(self.now.after(eligible)))
    }

    fn overrun_at(&self, holder: &Holder, revoked: Instant) -> Instant {
        let quanta = u64::from(self.config.overrun_quanta);
        revoked.after(Duration::from_nanos(holder.quantum.as_nanos().saturating_mul(quanta)))
    }

    /// What is to be done about a holder.
    fn review(&mut self, at: usize) -> Option<Decision> {
        let holder = self.holders[at];
        if let Some(revoked) = holder.revoked {
            let late = !holder.overrun && self.now >= self.overrun_at(&holder, revoked);
            // Whom nobody waits for may take its time; whoever was handed the GPU waits for its end, too.
            let in_the_way = self.sets.waiting() > 0 || self.holders.len() > at + 1;
            return (late && in_the_way).then(|| self.overrun(at));
        }
        if self.tenants[holder.slot as usize].suspended {
            return Some(self.revoke(at, Reason::Suspended));
        }
        if holder.idle_since.is_some_and(|since| self.now >= since.after(self.config.idle_grace)) {
            return Some(self.revoke(at, Reason::Idle));
        }
        if self.may_interrupt(&holder) {
            return Some(self.revoke(at, Reason::Latency));
        }
        match holder.until {
            None if self.sets.waiting() > 0 => Some(self.limit(at)),
            Some(until) if self.now >= until => Some(self.expire(at)),
            _ => None,
        }
    }

    fn may_interrupt(&self, holder: &Holder) -> bool {
        self.tenants[holder.slot as usize].class == Class::Batch
            && self.now >= holder.since.after(self.config.run_min)
            && self.sets.latency.least().is_some_and(|time| time <= self.clock.now())
    }

    /// Somebody waits for a holder that had no end. Its quantum counts from its beginning, and may be over.
    fn limit(&mut self, at: usize) -> Decision {
        self.measure(self.holders[at].slot);
        let tenant = &self.tenants[self.holders[at].slot as usize];
        let holder = &mut self.holders[at];
        let until = holder.started.after(tenant.quantum).max(self.now);
        holder.quantum = tenant.quantum;
        holder.until = Some(until);
        holder.room_ns = Some(tenant.ceiling.as_nanos());
        if until <= self.now { self.expire(at) } else { self.until(at) }
    }

    /// A quantum is over: the lease ends, unless its holder would be the next one as well. Then it goes on, which
    /// saves a switch and changes nothing else.
    fn expire(&mut self, at: usize) -> Decision {
        let slot = self.holders[at].slot;
        if self.tenants[slot as usize].cap.is_some_and(|cap| cap.ready_at() > self.now) {
            return self.revoke(at, Reason::Cap);
        }
        self.measure(slot);
        if !self.would_be_next(slot) {
            return self.revoke(at, Reason::Quantum);
        }
        self.holders[at].started = self.now;
        self.set_end(at);
        self.until(at)
    }

    /// The end of a quantum that begins now: none while nobody waits, except under a cap, which has to be looked at.
    fn set_end(&mut self, at: usize) {
        let contended = self.sets.waiting() > 0;
        let holder = &mut self.holders[at];
        let tenant = &self.tenants[holder.slot as usize];
        holder.quantum = tenant.quantum;
        holder.until = (contended || tenant.cap.is_some()).then(|| self.now.after(tenant.quantum));
        holder.room_ns = contended.then_some(tenant.ceiling.as_nanos());
    }

    /// Whether a holder would be picked if it gave its lease back.
    fn would_be_next(&self, slot: Slot) -> bool {
        let tenant = &self.tenants[slot as usize];
        let due = |tag: Instant| tag <= self.now;
        if let Some((_, tag)) = self.sets.reserved.peek().filter(|(_, tag)| due(*tag)) {
            return tenant.reservation.is_some_and(|own| own.at() < tag);
        }
        if tenant.reservation.is_some_and(|own| due(own.at())) {
            return true;
        }
        let now = self.clock.now();
        if !self.competes(slot) {
            let first = self.sets.ahead.peek().is_none_or(|(_, time)| tenant.time < time);
            return first && self.sets.batch.is_empty() && self.sets.latency.is_empty();
        }
        let deadline = tenant.time + served(tenant.ceiling.as_nanos(), tenant.weight);
        let eligible = tenant.time <= now;
        let latency = self.sets.latency.earliest_eligible(now);
        let batch = self.sets.batch.earliest_eligible(now);
        match (tenant.class, latency, batch) {
            (Class::Batch, Some(_), _) => false,
            (Class::Latency, None, Some(_)) => eligible,
            (Class::Latency, Some(other), _) | (Class::Batch, None, Some(other)) => {
                eligible && deadline < self.tenants[other as usize].deadline
            }
            (_, None, None) => {
                eligible || self.sets.least_member().is_none_or(|(_, least)| tenant.time < least)
            }
        }
    }

    fn until(&self, at: usize) -> Decision {
        let Holder { slot, epoch, until, .. } = self.holders[at];
        Decision::Until { tenant: TenantId(slot), epoch, until }
    }

    fn revoke(&mut self, at: usize, reason: Reason) -> Decision {
        let holder = &mut self.holders[at];
        holder.revoked = Some(self.now);
        holder.room_ns.get_or_insert(self.tenants[holder.slot as usize].ceiling.as_nanos());
        Decision::Revoke { tenant: TenantId(holder.slot), epoch: holder.epoch, reason }
    }

    fn overrun(&mut self, at: usize) -> Decision {
        self.holders[at].overrun = true;
        // Whoever comes next moves the clock; this one does not any more.
        self.holders[at].room_ns = Some(0);
        self.payers_since = self.now;
        self.totals.overruns += 1;
        Decision::Overrun { tenant: TenantId(self.holders[at].slot), epoch: self.holders[at].epoch }
    }

    /// Whether another lease may begin: nobody keeps others out, or the only one that does is about to end.
    fn is_vacant(&self) -> bool {
        let mut regular = self.holders.iter().filter(|holder| !holder.overrun);
        match (regular.next(), regular.next()) {
            (None, _) => true,
            (Some(one), None) => one.hand_off.is_some_and(|at| at <= self.now),
            _ => false,
        }
    }

    /// Who is next, and whether its service moves the clock.
    fn pick(&self) -> Option<(Slot, bool)> {
        if !self.is_vacant() {
            return None;
        }
        let now = self.clock.now();
        if let Some((slot, _)) = self.sets.reserved.peek().filter(|(_, tag)| *tag <= self.now) {
            let tenant = &self.tenants[slot as usize];
            return Some((slot, !self.sets.ahead.contains(slot) && tenant.time <= now));
        }
        let eligible = self.sets.latency.earliest_eligible(now);
        eligible
            .or_else(|| self.sets.batch.earliest_eligible(now))
            // Nobody who waits is eligible: a lease that has not drained still has to be served. The GPU does not wait.
            .or_else(|| self.sets.least_member().map(|(slot, _)| slot))
            .map(|slot| (slot, true))
            .or_else(|| self.sets.ahead.peek().map(|(slot, _)| (slot, false)))
    }

    fn grant(&mut self, slot: Slot, competes: bool) -> Decision {
        self.unseat(slot);
        let tenant = &mut self.tenants[slot as usize];
        if let Some(member) = tenant.member
            && !competes
        {
            self.sets.leaving.insert(slot, member);
        }
        tenant.place = Place::Holding;
        self.payers_since = self.now;
        tenant.epoch += 1;
        tenant.leases += 1;
        self.totals.leases += 1;
        let (planned, epoch) = (tenant.quantum, tenant.epoch);
        self.holders.push(Holder {
            slot,
            epoch,
            since: self.now,
            started: self.now,
            quantum: planned,
            until: None,
            room_ns: None,
            revoked: None,
            hand_off: None,
            overrun: false,
            idle_since: None,
        });
        // The deadline was set for this quantum: one that has grown since waits for the next lease.
        let quantum =
            self.quantum(self.tenants[slot as usize].class, self.sets.waiting() + self.holders.len());
        self.tenants[slot as usize].quantum = quantum.min(planned);
        let at = self.holders.len() - 1;
        self.set_end(at);
        Decision::Grant { tenant: TenantId(slot), epoch, until: self.holders[at].until }
    }
}
