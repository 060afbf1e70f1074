//! What an operator changes while tenants run, and what is kept of a tenant while the host does not.

use super::clock::{NANO, div_ceil, served};
use super::config::{Cap, Class, LeaseError};
use super::tenant::{Capped, Place};
use super::{Leases, Slot};
use crate::admission::TenantId;
use crate::tag::Tag;
use crate::time::{Duration, Instant};
use crate::weight::{Share, Weight};

/// The deepest debt, 13 days of service. It bounds virtual time (`super::clock`), and a tenant that owes more is one
/// that an operator has to look at anyway.
const DEBT_MAX: i128 = (1 << 50) * NANO;

impl Leases {
    /// Gives a tenant another weight, from now on. What it is owed, or owes, stays the same amount of service.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn set_weight(&mut self, now: Instant, tenant: TenantId, weight: Weight) -> Result<(), LeaseError> {
        self.known(tenant)?;
        self.settle(now);
        let (slot, new) = (tenant.0, weight.get());
        let ready = self.lift(slot);
        let v = self.clock.now();
        let state = &mut self.tenants[slot as usize];
        let old = core::mem::replace(&mut state.weight, new);
        self.weights = self.weights - u64::from(old) + u64::from(new);
        let scaled = |span: i128| div_ceil(span * i128::from(old), new);
        let start = state.member.unwrap_or(v);
        let beyond = scaled((state.time - start).max(0));
        if let Some(member) = state.member {
            let moved = self.clock.reweigh(old, member, new);
            state.member = Some(moved);
            state.time = moved + beyond;
            if self.sets.leaving.contains(slot) {
                self.sets.leaving.insert(slot, moved);
            }
        } else if state.time > v {
            state.time = v + beyond;
        }
        self.bound_debt(slot);
        self.put_back(slot, ready);
        self.cross();
        Ok(())
    }

    /// Gives a tenant another class.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn set_class(&mut self, now: Instant, tenant: TenantId, class: Class) -> Result<(), LeaseError> {
        self.known(tenant)?;
        self.settle(now);
        let ready = self.lift(tenant.0);
        let state = &mut self.tenants[tenant.0 as usize];
        let counts = |class| u32::from(class == Class::Latency && state.may_run());
        self.latency_active = self.latency_active + counts(class) - counts(state.class);
        state.class = class;
        self.put_back(tenant.0, ready);
        Ok(())
    }

    /// Gives a tenant another reservation and another cap, or none.
    ///
    /// # Errors
    /// There is no such tenant, the reservations do not fit, or this one is above the cap. Nothing changed.
    pub fn set_limits(
        &mut self,
        now: Instant,
        tenant: TenantId,
        reservation: Option<Share>,
        cap: Option<Cap>,
    ) -> Result<(), LeaseError> {
        self.known(tenant)?;
        self.check_reservation(Some(tenant.0), reservation, cap)?;
        self.settle(now);
        let slot = tenant.0;
        let waits = matches!(self.tenants[slot as usize].place, Place::Ready | Place::Capped);
        self.unseat(slot);
        let state = &mut self.tenants[slot as usize];
        state.reservation = reservation.map(|share| Tag::new(share, self.now));
        // What it ran ahead of the old cap stays: setting a cap again must not clear it.
        let ahead = state.cap.map(|old| old.tag.at()).filter(|at| *at > self.now);
        state.cap = cap.map(|cap| Capped::new(cap, ahead.unwrap_or(self.now)));
        if waits {
            self.enqueue(slot);
        }
        Ok(())
    }

    /// Stops to grant to a tenant, and revokes what it holds. It keeps its debt.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn suspend(&mut self, now: Instant, tenant: TenantId) -> Result<(), LeaseError> {
        self.set_suspended(now, tenant, true)
    }

    /// Grants to a suspended tenant again.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn resume(&mut self, now: Instant, tenant: TenantId) -> Result<(), LeaseError> {
        self.set_suspended(now, tenant, false)
    }

    fn set_suspended(&mut self, now: Instant, tenant: TenantId, suspended: bool) -> Result<(), LeaseError> {
        self.known(tenant)?;
        self.settle(now);
        let state = &mut self.tenants[tenant.0 as usize];
        let could = state.may_run();
        state.suspended = suspended;
        self.follow(tenant.0, could);
        Ok(())
    }

    /// Charges a tenant for a pause that its fault caused to all.
    pub fn charge(&mut self, now: Instant, tenant: TenantId, pause: Duration) {
        self.settle(now);
        self.totals.pauses_ns = self.totals.pauses_ns.saturating_add(pause.as_nanos());
        self.owe(tenant.0, pause);
    }

    /// What a tenant owes: service that others are to have before it competes again. Kept over a restart with
    /// [`Self::restore_debt`].
    pub fn debt(&self, tenant: TenantId) -> Duration {
        let state = &self.tenants[tenant.0 as usize];
        let units = (state.time - self.clock.now()).max(0) * i128::from(state.weight);
        Duration::from_nanos(u64::try_from((units + NANO - 1) / NANO).unwrap_or(u64::MAX))
    }

    /// A tenant owes what it owed before a restart.
    pub fn restore_debt(&mut self, now: Instant, tenant: TenantId, debt: Duration) {
        self.settle(now);
        self.owe(tenant.0, debt);
    }

    fn owe(&mut self, slot: Slot, span: Duration) {
        if span == Duration::default() {
            return;
        }
        let ready = self.lift(slot);
        let mut by = served(span.as_nanos(), self.tenants[slot as usize].weight);
        if self.competes(slot) {
            // Like service, as long as it is owed any; so everybody else is owed the pause.
            let state = &mut self.tenants[slot as usize];
            let counted = by.min(self.clock.until_even(state.weight, state.time));
            state.time += counted;
            state.member = Some(state.time);
            self.clock.moved(state.weight, counted);
            by -= counted;
        }
        let v = self.clock.now();
        let state = &mut self.tenants[slot as usize];
        if by > 0 {
            state.time = state.time.max(v) + by;
            if let Some(member) = state.member {
                self.sets.leaving.insert(slot, member);
            }
        }
        self.bound_debt(slot);
        self.put_back(slot, ready);
        self.cross();
    }

    fn bound_debt(&mut self, slot: Slot) {
        let v = self.clock.now();
        let state = &mut self.tenants[slot as usize];
        let deepest = v + DEBT_MAX / i128::from(state.weight);
        state.time = state.time.min(deepest.max(state.member.unwrap_or(deepest)));
    }

    /// Takes a waiting tenant out of the sets; whether it waited. It stays a member if it is one.
    fn lift(&mut self, slot: Slot) -> bool {
        let ready = self.tenants[slot as usize].place == Place::Ready;
        if ready {
            self.unseat(slot);
        }
        ready
    }

    fn put_back(&mut self, slot: Slot, ready: bool) {
        if ready {
            if let Some(tag) = self.tenants[slot as usize].reservation {
                self.sets.reserved.insert(slot, tag.at());
            }
            self.seat(slot);
        }
    }

    fn known(&self, tenant: TenantId) -> Result<(), LeaseError> {
        if (tenant.0 as usize) < self.tenants.len() { Ok(()) } else { Err(LeaseError::UnknownTenant) }
    }

    /// Whether a tenant may have this reservation beside all others', and beside its cap.
    pub(super) fn check_reservation(
        &self,
        tenant: Option<Slot>,
        reservation: Option<Share>,
        cap: Option<Cap>,
    ) -> Result<(), LeaseError> {
        let Some(reservation) = reservation else { return Ok(()) };
        if cap.is_some_and(|cap| cap.share < reservation) {
            return Err(LeaseError::ReservationAboveCap);
        }
        let others = (0..).zip(&self.tenants).filter(|(slot, _)| Some(*slot) != tenant);
        let reserved = others.filter_map(|(_, other)| other.reservation);
        let sum = u64::from(reservation.millionths())
            + reserved.map(|tag| u64::from(tag.share().millionths())).sum::<u64>();
        let max = self.config.reservable.millionths();
        if sum > u64::from(max) { Err(LeaseError::Reservations { sum, max }) } else { Ok(()) }
    }
}
