//! Who stands where: the sets of ready tenants, and the membership of the clock.

use super::clock::{NANO, served};
use super::config::Class;
use super::tenant::Place;
use super::{Leases, Slot};
use crate::heap::Heap;
use crate::time::{Duration, Instant};
use crate::tree::Tree;

/// The sets of tenants. Each operation on one takes logarithmic time and no memory.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    /// Ready members of the batch class.
    pub(super) batch: Tree,
    /// Ready members of the latency class.
    pub(super) latency: Tree,
    /// Ready tenants whose time lies ahead of V: they had more than their share, and run only for their reservation or
    /// when nobody else wants to. By their time.
    pub(super) ahead: Heap<i128>,
    /// Members that do not compete: they left, or were served beyond their lease, with a time ahead of V. They stay
    /// members until V is there, as if they still took their share. By their time as the clock knows it.
    pub(super) leaving: Heap<i128>,
    /// Ready tenants with a reservation, by its tag.
    pub(super) reserved: Heap<Instant>,
    /// Tenants that wait for their cap, by when it lets them run.
    pub(super) capped: Heap<Instant>,
    /// Sum of the weights in `ahead`.
    pub(super) ahead_weight: u64,
    /// Counts who became ready when.
    order: u64,
}

impl Sets {
    pub(super) const fn new() -> Self {
        Self {
            batch: Tree::new(),
            latency: Tree::new(),
            ahead: Heap::new(),
            leaving: Heap::new(),
            reserved: Heap::new(),
            capped: Heap::new(),
            ahead_weight: 0,
            order: 0,
        }
    }

    pub(super) fn reserve(&mut self, slots: usize) {
        self.batch.reserve(slots);
        self.latency.reserve(slots);
        self.ahead.reserve(slots);
        self.leaving.reserve(slots);
        self.reserved.reserve(slots);
        self.capped.reserve(slots);
    }

    /// How many tenants wait for a lease.
    pub(super) const fn waiting(&self) -> usize {
        self.batch.len() + self.latency.len() + self.ahead.len()
    }

    /// The member with the smallest time among those that wait.
    pub(super) fn least_member(&self) -> Option<(Slot, i128)> {
        let least = |tree: &Tree| Some((tree.least_time()?, tree.least()?));
        match (least(&self.latency), least(&self.batch)) {
            (Some(a), Some(b)) => Some(if b.1 < a.1 { b } else { a }),
            (a, b) => a.or(b),
        }
    }

    pub(super) const fn tree(&mut self, class: Class) -> &mut Tree {
        match class {
            Class::Batch => &mut self.batch,
            Class::Latency => &mut self.latency,
        }
    }
}

impl Leases {
    /// A tenant that may run and holds nothing waits for a lease, or for its cap.
    pub(super) fn enqueue(&mut self, slot: Slot) {
        let tenant = &mut self.tenants[slot as usize];
        tenant.ready_since = self.now;
        if let Some(ready_at) = tenant.cap.map(|cap| cap.ready_at()).filter(|at| *at > self.now) {
            tenant.place = Place::Capped;
            self.retire(slot);
            self.sets.capped.insert(slot, ready_at);
            return;
        }
        tenant.place = Place::Ready;
        if let Some(tag) = tenant.reservation {
            self.sets.reserved.insert(slot, tag.at());
        }
        self.seat(slot);
    }

    /// Gives a ready tenant its place in the share: among the members, or ahead of them.
    pub(super) fn seat(&mut self, slot: Slot) {
        self.measure(slot);
        let now = self.clock.now();
        let tenant = &mut self.tenants[slot as usize];
        match tenant.member {
            Some(member) if member == tenant.time => {
                self.sets.leaving.remove(slot);
            }
            // Less than a nanosecond of debt is what rounding made of none.
            None if (tenant.time - now) * i128::from(tenant.weight) < NANO => {
                // Nothing was saved up while it did not compete.
                tenant.time = tenant.time.max(now);
                tenant.member = Some(tenant.time);
                self.clock.join(tenant.weight, tenant.time);
            }
            _ => {
                self.sets.ahead_weight += u64::from(tenant.weight);
                self.sets.ahead.insert(slot, tenant.time);
                return;
            }
        }
        tenant.deadline = tenant.time + served(tenant.ceiling.as_nanos(), tenant.weight);
        self.sets.order += 1;
        let key = (tenant.deadline, self.sets.order);
        self.sets.tree(tenant.class).insert(slot, key, tenant.time);
    }

    /// Takes a tenant out of the sets of those that wait; it stays a member if it is one.
    pub(super) fn unseat(&mut self, slot: Slot) {
        let tenant = &self.tenants[slot as usize];
        self.sets.tree(tenant.class).remove(slot);
        if self.sets.ahead.remove(slot) {
            self.sets.ahead_weight -= u64::from(tenant.weight);
        }
        self.sets.reserved.remove(slot);
        self.sets.capped.remove(slot);
    }

    /// A tenant stops to compete. A member leaves as soon as V has reached it, so that V never falls.
    pub(super) fn retire(&mut self, slot: Slot) {
        self.unseat(slot);
        if let Some(member) = self.tenants[slot as usize].member {
            self.sets.leaving.insert(slot, member);
            self.cross();
        }
    }

    fn leave(&mut self, slot: Slot) {
        let tenant = &mut self.tenants[slot as usize];
        let member = tenant.member.take().expect("who leaves is a member");
        self.clock.leave(tenant.weight, member);
    }

    /// V has moved: members that only waited for it leave, and tenants that were ahead compete again.
    pub(super) fn cross(&mut self) {
        loop {
            if let Some((slot, time)) = self.sets.leaving.peek()
                && self.clock.has_reached(time)
            {
                self.sets.leaving.remove(slot);
                self.leave(slot);
            } else if let Some((slot, time)) = self.sets.ahead.peek()
                && self.clock.has_reached(time)
            {
                self.sets.ahead.remove(slot);
                self.sets.ahead_weight -= u64::from(self.tenants[slot as usize].weight);
                self.seat(slot);
            } else {
                return;
            }
        }
    }

    /// The time at which V changes who competes.
    pub(super) fn next_crossing(&self) -> Option<i128> {
        let leaving = self.sets.leaving.peek().map(|(_, time)| time);
        let ahead = self.sets.ahead.peek().map(|(_, time)| time);
        match (leaving, ahead) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The quantum of a lease that begins now, where `active` tenants compete.
    pub(super) fn quantum(&self, class: Class, active: usize) -> Duration {
        let config = &self.config;
        if class == Class::Latency {
            return config.quantum_min;
        }
        let active = u64::try_from(active.max(1)).unwrap_or(u64::MAX);
        let share = Duration::from_nanos(config.round_target.as_nanos() / active);
        let max =
            if self.latency_active > 0 { config.quantum_max_beside_latency } else { config.quantum_max };
        share.clamp(config.quantum_min, max)
    }

    /// Sets the quantum and the ceiling of a tenant for its next lease.
    pub(super) fn measure(&mut self, slot: Slot) {
        let active = self.sets.waiting() + self.holders.len() + 1;
        let quantum = self.quantum(self.tenants[slot as usize].class, active);
        let longest = quantum.as_nanos().saturating_mul(u64::from(self.config.overrun_quanta));
        let tenant = &mut self.tenants[slot as usize];
        tenant.quantum = quantum;
        tenant.ceiling =
            Duration::from_nanos(quantum.as_nanos().saturating_add(tenant.drain.as_nanos().min(longest)));
    }
}
