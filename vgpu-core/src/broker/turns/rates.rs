//! Rates of a tenant, over all its sessions: what it has had too much of is held back until that is made up.
//!
//! Workers count what their guests ask for and call after a part of the burst; what a worker counts wrong moves its own
//! tenant only. So a tenant gets its rate in the long run, and at most its burst and what its workers had not told, each less
//! than a sixteenth of that (or 16), at once. Sessions that began before a rate was set are looked at with each beat.

use vgpu_sched::{Instant, Limit, Rate, TenantId};

use super::Turns;
use crate::lease::{Counts, Held};

/// Workers tell after so many parts of what the tenant may do at once.
const REPORTS_PER_BURST: u64 = 16;

/// What a worker may add at least before it calls: calls cost more than what small bursts are about, and each beat looks anyway.
const REPORT_MIN: u64 = 16;

impl Turns {
    /// Sets or lifts one of a tenant's rates; what is owed stays.
    ///
    /// # Panics
    /// When there is no such tenant.
    pub fn set_rate(&mut self, now: Instant, tenant: TenantId, limit: Limit, rate: Option<Rate>) {
        let tenant = &mut self.tenants[tenant.0 as usize];
        tenant.limits.set(now, limit, rate);
        let step = rate.map_or(u64::MAX, |rate| (rate.burst() / REPORTS_PER_BURST).max(REPORT_MIN));
        let Counts { launches, copied_bytes, calls } = &mut tenant.report;
        match limit {
            Limit::Launches => *launches = step,
            Limit::Bytes => *copied_bytes = step,
            Limit::ControlCalls => *calls = step,
            Limit::GpuTime | Limit::Sessions => {}
        }
    }

    /// Holds back what tenants have had too much of, and lets go what is made up.
    pub(super) fn follow_rates(&mut self, now: Instant) {
        for index in 0..self.tenants.len() {
            let tenant = &mut self.tenants[index];
            let due = [Limit::Launches, Limit::Bytes, Limit::ControlCalls]
                .map(|limit| tenant.limits.due(now, limit));
            let held = Held { launches: due[0].is_some(), copies: due[1].is_some(), calls: due[2].is_some() };
            tenant.held_until = due.into_iter().flatten().min();
            if held == std::mem::replace(&mut tenant.held, held) {
                continue;
            }
            self.publish(TenantId(u32::try_from(index).expect("tenants have 32-bit names")));
            let workers = self.tenants[index].workers.iter().filter_map(|session| self.workers.get(session));
            workers.for_each(|worker| worker.grant.wake());
        }
    }
}
