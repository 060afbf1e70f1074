//! Who holds a GPU next, for how long, and what it pays: fair queuing by weight over the time that leases are held.
//!
//! The algorithm is of the family of WF2Q+ and EEVDF; `docs/scheduling.md` explains it and its bounds. In short: virtual
//! time V moves by service divided by the sum of the weights. Each tenant has its own virtual time, which moves by its
//! service divided by its weight; `weight * (V - time)` is its **lag**, the service that it is owed. A tenant is
//! **eligible** when it is owed something, and has a **virtual deadline**: its time, plus the longest hold that its next
//! lease may take (its **ceiling**) by its weight. The eligible tenant with the earliest deadline is next.
//!
//! A lease is charged as its time passes, so nothing has to be guessed before. What a tenant takes beyond its ceiling is
//! debt: it moves nobody's lag, and the tenant competes again when V has come to where it is. Debt stays with the
//! tenant, whether it sleeps, crashes or comes back; nothing is saved up by not running.
//!
//! One value serves one GPU. Events are methods, with the time; after each, [`Leases::poll`] is asked until it answers
//! nothing, and again at [`Leases::next_timer`]. A decision takes logarithmic time in the number of tenants and no
//! memory; all memory is taken in [`Leases::add`].
//!
//! ```
//! use vgpu_sched::{Decision, Duration, Instant, LeaseConfig, LeaseTenant, Leases, Weight};
//!
//! let mut leases = Leases::new(LeaseConfig::default())?;
//! let start = Instant::default();
//! let three = LeaseTenant { weight: Weight::new(300)?, ..LeaseTenant::default() };
//! let alice = leases.add(start, three)?;
//! leases.runnable(start, alice);
//! // Alone, she may run as long as she likes.
//! let Some(Decision::Grant { tenant, epoch, until: None }) = leases.poll(start) else { panic!() };
//! assert_eq!(tenant, alice);
//!
//! let bob = leases.add(start, LeaseTenant::default())?;
//! let later = start.after(Duration::from_millis(50));
//! leases.runnable(later, bob);
//! // Her quantum is over, and Bob waits.
//! assert!(matches!(leases.poll(later), Some(Decision::Until { .. } | Decision::Revoke { .. })));
//! # let _ = epoch;
//! # Ok::<(), vgpu_sched::LeaseError>(())
//! ```

mod bill;
mod change;
mod clock;
mod config;
mod decide;
mod sets;
mod tenant;
#[cfg(test)]
mod tests;
mod view;

use alloc::vec::Vec;

pub use self::bill::Totals;
use self::clock::Clock;
pub use self::config::{Cap, Class, LeaseConfig, LeaseError, LeaseTenant, TENANTS_MAX};
use self::sets::Sets;
pub use self::tenant::Place;
use self::tenant::{Holder, Tenant};
pub use self::view::LeaseView;
use crate::admission::TenantId;
use crate::time::{Duration, Instant};

/// A tenant's place in the tables.
type Slot = u32;

/// The leases of one GPU.
#[derive(Clone, Debug)]
pub struct Leases {
    config: LeaseConfig,
    /// The time of the last event.
    now: Instant,
    clock: Clock,
    tenants: Vec<Tenant>,
    /// Leases that are out, oldest first. At most one for each tenant; more than one only while one overruns or drains.
    holders: Vec<Holder>,
    /// When a lease began, ended or overran last. Since then the same tenants pay.
    payers_since: Instant,
    sets: Sets,
    /// Tenants of the latency class that have work.
    latency_active: u32,
    /// Sum of all weights.
    weights: u64,
    totals: Totals,
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// A tenant's lease begins: open its gate.
    Grant {
        /// Whose.
        tenant: TenantId,
        /// Number of the lease among the tenant's; messages about it carry it.
        epoch: u64,
        /// When it ends; none while nobody else waits.
        until: Option<Instant>,
    },
    /// A lease has another end than was said.
    Until {
        /// Whose.
        tenant: TenantId,
        /// Of which lease.
        epoch: u64,
        /// When it ends; none while nobody else waits.
        until: Option<Instant>,
    },
    /// A lease is over: close the tenant's gate, and report when its work has drained.
    Revoke {
        /// Whose.
        tenant: TenantId,
        /// Which lease.
        epoch: u64,
        /// Why.
        reason: Reason,
    },
    /// A revoked lease has not drained in time. It keeps nobody out any more, and pays until it has: watch it.
    Overrun {
        /// Whose.
        tenant: TenantId,
        /// Which lease.
        epoch: u64,
    },
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its quantum is over, and somebody waits.
    Quantum,
    /// A tenant of the latency class is owed time.
    Latency,
    /// The tenant has nothing to run.
    Idle,
    /// The tenant has used up its cap.
    Cap,
    /// The tenant was suspended.
    Suspended,
}

impl Leases {
    /// Leases of a GPU without tenants.
    ///
    /// # Errors
    /// A knob is out of its range.
    pub fn new(config: LeaseConfig) -> Result<Self, LeaseError> {
        config.check()?;
        Ok(Self {
            config,
            now: Instant::default(),
            clock: Clock::default(),
            tenants: Vec::new(),
            holders: Vec::new(),
            payers_since: Instant::default(),
            sets: Sets::new(),
            latency_active: 0,
            weights: 0,
            totals: Totals::default(),
        })
    }

    /// Adds a tenant without work. Tenants get the ids 0, 1, 2, ... in the order of their coming.
    ///
    /// # Errors
    /// There are too many, or the reservations do not fit. Nothing changed.
    pub fn add(&mut self, now: Instant, tenant: LeaseTenant) -> Result<TenantId, LeaseError> {
        if self.tenants.len() >= TENANTS_MAX {
            return Err(LeaseError::TooManyTenants);
        }
        self.check_reservation(None, tenant.reservation, tenant.cap)?;
        self.settle(now);
        let slot = Slot::try_from(self.tenants.len()).expect("TENANTS_MAX fits in 32 bits");
        self.weights += u64::from(tenant.weight.get());
        self.tenants.push(Tenant::new(tenant, self.now, self.config.drain_min));
        self.holders.reserve(self.tenants.len() - self.holders.len());
        self.sets.reserve(self.tenants.len());
        Ok(TenantId(slot))
    }

    /// A tenant has something to run.
    ///
    /// # Panics
    /// This and the other events: when there is no such tenant. Ids come from [`Self::add`].
    pub fn runnable(&mut self, now: Instant, tenant: TenantId) {
        self.settle(now);
        self.set_work(tenant.0, true);
    }

    /// A tenant has nothing to run any more. If it holds the GPU it keeps it for
    /// [`LeaseConfig::idle_grace`](LeaseConfig), and is revoked then.
    pub fn idle(&mut self, now: Instant, tenant: TenantId) {
        self.settle(now);
        self.set_work(tenant.0, false);
    }

    /// A tenant's gate is closed, and its work in flight is expected to be done after `remaining`. The next lease may
    /// begin [`LeaseConfig::hand_off`](LeaseConfig) before that. A tenant that lies here pays: the time until it has
    /// really drained is billed to it alone.
    pub fn closed(&mut self, now: Instant, tenant: TenantId, epoch: u64, remaining: Duration) {
        self.settle(now);
        let hand_off = self.config.hand_off;
        let Some(at) = self.holder(tenant.0, epoch) else { return };
        if hand_off > Duration::default() && self.holders[at].revoked.is_some() {
            let before = remaining.as_nanos().saturating_sub(hand_off.as_nanos());
            self.holders[at].hand_off = Some(self.now.after(Duration::from_nanos(before)));
        }
    }

    /// A lease has ended: its gate is closed and its work is done, or its worker is gone. It was held for `held` since
    /// its grant, which is what it pays, and never more than the time that passed. Whoever holds the GPU beside it pays
    /// from then on.
    ///
    /// `held` is the caller's own measurement, for messages that take a while: who takes it from a worker believes its
    /// guest. It ends no lease before another one began, ended or overran; so nobody gets back time that others shared.
    pub fn drained(&mut self, now: Instant, tenant: TenantId, epoch: u64, held: Duration) {
        let Some(at) = self.holder(tenant.0, epoch) else {
            self.settle(now);
            return;
        };
        let end = self.holders[at].since.after(held).max(self.payers_since).min(now.max(self.now));
        self.settle(end);
        let holder = self.end_lease(at, end);
        let longest = holder.quantum.as_nanos().saturating_mul(u64::from(self.config.overrun_quanta));
        let state = &mut self.tenants[holder.slot as usize];
        if let Some(revoked) = holder.revoked {
            // Slow to forget: a tenant that drains slowly now and then would otherwise be late each time it does.
            let seen = end.since(revoked).as_nanos().min(longest);
            let kept = state.drain.as_nanos() - state.drain.as_nanos() / DRAIN_DECAY;
            state.drain = Duration::from_nanos(seen.max(kept)).max(self.config.drain_min);
        }
        state.place = Place::Idle;
        if state.may_run() {
            self.enqueue(holder.slot);
        } else {
            self.retire(holder.slot);
        }
        self.settle(now);
    }

    fn set_work(&mut self, slot: Slot, has_work: bool) {
        let tenant = &mut self.tenants[slot as usize];
        let could = tenant.may_run();
        tenant.has_work = has_work;
        self.follow(slot, could);
    }

    /// Brings a tenant where it belongs after a change of whether it may run.
    fn follow(&mut self, slot: Slot, could: bool) {
        let tenant = &self.tenants[slot as usize];
        let can = tenant.may_run();
        if tenant.place == Place::Holding {
            let idle = !tenant.has_work;
            let now = self.now;
            for holder in self.holders.iter_mut().filter(|holder| holder.slot == slot) {
                holder.idle_since = if idle { holder.idle_since.or(Some(now)) } else { None };
            }
        }
        if could == can {
            return;
        }
        let held = tenant.place == Place::Holding;
        if tenant.class == Class::Latency {
            self.latency_active = if can { self.latency_active + 1 } else { self.latency_active - 1 };
        }
        if held {
            return;
        }
        if can {
            let claimed =
                Instant::from_nanos(self.now.as_nanos().saturating_sub(RESERVATION_SLACK.as_nanos()));
            if let Some(tag) = &mut self.tenants[slot as usize].reservation {
                tag.forget_before(claimed);
            }
            self.enqueue(slot);
        } else {
            self.tenants[slot as usize].place = Place::Idle;
            self.retire(slot);
        }
    }

    /// The lease with that number; one that is over is counted.
    fn holder(&mut self, slot: Slot, epoch: u64) -> Option<usize> {
        let found = self.holders.iter().position(|holder| holder.slot == slot && holder.epoch == epoch);
        self.totals.stale += u64::from(found.is_none());
        found
    }
}

/// How much of a reservation may be claimed later although it was not wanted: a tenant without work for a moment keeps
/// its place. What it waits for while it has work stays claimed.
const RESERVATION_SLACK: Duration = Duration::from_millis(1);

/// A tenant's longest drain is forgotten by one part in so many with each lease.
const DRAIN_DECAY: u64 = 64;
