//! What operators and tests may see of a tenant.

use super::clock::NANO;
use super::tenant::Place;
use super::{Leases, Totals};
use crate::admission::TenantId;
use crate::time::{Duration, Instant};

/// A tenant, as it stood at the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseView {
    /// Where it is.
    pub place: Place,
    /// Whether it competes: it waits or runs, and is not ahead of its share.
    pub competes: bool,
    /// Service that it is owed, in nanoseconds; below zero, what it had too much. Of a tenant that does not compete
    /// this is what it had beyond V, never above zero.
    pub lag_ns: i64,
    /// Its virtual time, and V, in nanoseconds of service at weight one.
    pub time_ns: u64,
    /// The length of its next lease, or of the one it holds.
    pub quantum: Duration,
    /// The longest hold that its deadline allows for.
    pub ceiling: Duration,
    /// Its virtual deadline, in nanoseconds of service at weight one; of use while it waits.
    pub deadline_ns: u64,
    /// All time that it was charged for holding the GPU, in nanoseconds.
    pub billed_ns: u64,
    /// Leases that it had.
    pub leases: u64,
    /// Since when it waits.
    pub ready_since: Instant,
}

impl Leases {
    /// A tenant, as it stood at the last event; `None` when there is none.
    pub fn tenant(&self, tenant: TenantId) -> Option<LeaseView> {
        let state = self.tenants.get(tenant.0 as usize)?;
        let competes = self.competes(tenant.0) && state.place != Place::Capped;
        let lag = (self.clock.now() - state.time) * i128::from(state.weight);
        let lag = if competes { lag } else { lag.min(0) };
        Some(LeaseView {
            place: state.place,
            competes,
            lag_ns: i64::try_from(lag.div_euclid(NANO)).unwrap_or(i64::MIN),
            time_ns: nanos(state.time),
            quantum: state.quantum,
            ceiling: state.ceiling,
            deadline_ns: nanos(state.deadline),
            billed_ns: state.billed_ns,
            leases: state.leases,
            ready_since: state.ready_since,
        })
    }

    /// Virtual time, in nanoseconds of service at weight one.
    pub fn virtual_time_ns(&self) -> u64 {
        nanos(self.clock.now())
    }

    /// Sums over all tenants.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Tenants that wait for a lease and could have one.
    pub const fn waiting(&self) -> usize {
        self.sets.waiting()
    }

    /// Tenants that hold a lease, oldest first.
    pub fn holders(&self) -> impl Iterator<Item = TenantId> + '_ {
        self.holders.iter().map(|holder| TenantId(holder.slot))
    }
}

/// Whole nanoseconds of virtual time; it may lie before zero by what a tenant was owed then.
fn nanos(time: i128) -> u64 {
    u64::try_from((time / NANO).max(0)).unwrap_or(u64::MAX)
}
