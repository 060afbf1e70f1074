//! Tenants that hold the GPU: their gates, their work in flight, their end.

use vgpu_sched::{Instant, TenantId, Verdict};

use super::super::SessionId;
use super::tenant::{Lease, Tenant};
use super::{Act, TurnKill, Turns};
use crate::lease::{Grant, InFlight};

impl Turns {
    /// Opens the gates of a tenant's workers.
    pub(super) fn grant(&mut self, now: Instant, id: TenantId, epoch: u64) {
        let waited = self.leases.tenant(id).map(|view| now.since(view.ready_since));
        let contended = self.leases.waiting() > 0;
        let tenant = &mut self.tenants[id.0 as usize];
        tenant.waits.add(waited.unwrap_or_default().as_nanos());
        tenant.begin(now, epoch, contended);
        tenant.progress = progress(tenant, &self.workers);
        self.publish(id);
        // Also those that wanted nothing when last read: they may want something by now and be about to sleep.
        for session in &self.tenants[id.0 as usize].workers {
            if let Some(worker) = self.workers.get(session) {
                worker.grant.wake();
            }
        }
        let granted_beside: Vec<TenantId> = self.leases.holders().filter(|other| *other != id).collect();
        for other in granted_beside {
            let neighbour = &mut self.tenants[other.0 as usize];
            if neighbour.lease.as_ref().is_some_and(|lease| lease.overran) {
                neighbour.watchdog.neighbour_moved(now);
            }
        }
    }

    /// Closes the gates of a tenant's workers.
    pub(super) fn revoke(&mut self, now: Instant, id: TenantId) {
        let tenant = &mut self.tenants[id.0 as usize];
        let Some(lease) = &mut tenant.lease else { return };
        (lease.revoked, lease.waited_for) = (Some(now), now);
        let epoch = lease.epoch;
        self.publish(id);
        // Who had begun to use the lease before the gates were closed shows it by now, and nobody begins any more.
        let sessions = self.tenants[id.0 as usize].workers.clone();
        for session in sessions {
            let Some(worker) = self.workers.get_mut(&session) else { continue };
            let heard = worker.read(now);
            if worker.keeps(epoch) {
                worker.grant.wake();
            }
            self.tenants[id.0 as usize].hear(heard);
        }
    }

    pub(super) fn overran(&mut self, now: Instant, id: TenantId) {
        let tenant = &mut self.tenants[id.0 as usize];
        tenant.overruns += 1;
        if let Some(lease) = &mut tenant.lease {
            lease.overran = true;
        }
        tenant.watchdog.neighbour_moved(now);
    }

    /// Writes a tenant's grant into the pages of its workers.
    pub(super) fn publish(&self, id: TenantId) {
        let tenant = &self.tenants[id.0 as usize];
        let grant = self.grant_of(tenant);
        for worker in tenant.workers.iter().filter_map(|session| self.workers.get(session)) {
            worker.grant.publish(grant);
        }
    }

    /// What the workers of a tenant are told.
    pub(super) fn grant_of(&self, tenant: &Tenant) -> Grant {
        let held = tenant.held;
        if !self.leased {
            return Grant { epoch: 1, open: true, contended: false, held };
        }
        match &tenant.lease {
            Some(lease) => {
                let Lease { epoch, revoked, contended, .. } = *lease;
                Grant { epoch, open: revoked.is_none(), contended, held }
            }
            // The number of the lease that was last stays: its end may not have been seen yet.
            None => Grant { epoch: tenant.last_epoch, open: false, contended: false, held },
        }
    }

    /// Ends the leases whose work is done, and hears how long that of the others will take.
    pub(super) fn follow_holders(&mut self, now: Instant) {
        let holders: Vec<TenantId> = self.leases.holders().collect();
        for id in holders {
            let tenant = &mut self.tenants[id.0 as usize];
            let Some(lease) = tenant.lease.as_mut().filter(|lease| lease.revoked.is_some()) else { continue };
            let epoch = lease.epoch;
            let workers = || tenant.workers.iter().filter_map(|session| self.workers.get(session));
            if workers().any(|worker| worker.keeps(epoch)) {
                let kept = workers().filter(|worker| worker.keeps(epoch));
                let all_closed = kept.clone().all(|worker| worker.claims.closed >= epoch);
                if all_closed && !std::mem::replace(&mut lease.closed, true) {
                    let remaining = kept.map(|worker| worker.claims.remaining).max().unwrap_or_default();
                    self.leases.closed(now, id, epoch, remaining);
                }
                continue;
            }
            let held = now.since(lease.granted);
            tenant.lease = None;
            tenant.look_at = None;
            tenant.holds.add(held.as_nanos());
            self.leases.drained(now, id, epoch, held);
            self.follow_wants(now, id);
            self.neighbour_left();
        }
    }

    /// Nobody overruns beside nobody.
    fn neighbour_left(&mut self) {
        if self.leases.holders().count() < 2 {
            self.tenants.iter_mut().for_each(|tenant| tenant.watchdog.neighbour_gone());
        }
    }

    /// Tells holders whether others wait.
    pub(super) fn tell_contention(&mut self) {
        let contended = self.leases.waiting() > 0;
        let holders: Vec<TenantId> = self.leases.holders().collect();
        for id in holders {
            let Some(lease) = &mut self.tenants[id.0 as usize].lease else { continue };
            if lease.contended == contended || lease.revoked.is_some() {
                continue;
            }
            lease.contended = contended;
            self.publish(id);
            for session in &self.tenants[id.0 as usize].workers {
                if let Some(worker) = self.workers.get(session).filter(|worker| worker.claims.wants) {
                    worker.grant.wake();
                }
            }
        }
    }

    /// Looks after what runs too long.
    pub(super) fn watch_holders(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let contended = self.leases.waiting() > 0;
        let holders: Vec<TenantId> = self.leases.holders().collect();
        for id in &holders {
            let tenant = &mut self.tenants[id.0 as usize];
            let runs = in_flight(tenant, &self.workers);
            let progress = progress(tenant, &self.workers);
            let moved = std::mem::replace(&mut tenant.progress, progress) != progress;
            if !runs {
                tenant.watchdog.rest();
            } else if moved || !tenant.watchdog.is_watching() {
                tenant.watchdog.progress(now);
            }
            let overruns = tenant.lease.as_ref().is_some_and(|lease| lease.overran);
            // Whoever was granted beside one that overran is in its way as little as those that wait.
            tenant.watchdog.contended(now, contended || overruns && holders.len() > 1);
            if moved && !overruns {
                for other in holders.iter().filter(|other| *other != id) {
                    let other = &mut self.tenants[other.0 as usize];
                    if other.lease.as_ref().is_some_and(|lease| lease.overran) {
                        other.watchdog.neighbour_moved(now);
                    }
                }
            }
        }
        for id in holders {
            self.bite(now, id, acts);
        }
    }

    /// Has the workers of a tenant killed that are in the way.
    fn bite(&mut self, now: Instant, id: TenantId, acts: &mut Vec<Act>) {
        let tenant = &mut self.tenants[id.0 as usize];
        while let Some(verdict) = tenant.watchdog.poll(now) {
            // Its gate lifts the bound by itself.
            let Verdict::Kill(reason) = verdict else { continue };
            kill(tenant, &self.workers, reason.into(), acts, |claims| claims.in_flight == InFlight::Running);
        }
        // Whatever its page says: a lease that others wait for ends.
        let patience = tenant.patience();
        let waited = self.leases.waiting() > 0 || self.leases.holders().count() > 1;
        let Some(lease) = &mut tenant.lease else { return };
        if !waited {
            lease.waited_for = now;
        }
        if lease.revoked.is_some() && now >= lease.waited_for.after(patience) {
            let epoch = lease.epoch;
            // Asked again as late as that, in case that the caller could not kill it.
            lease.waited_for = now;
            for session in &tenant.workers {
                let Some(worker) = self.workers.get(session).filter(|worker| worker.keeps(epoch)) else {
                    continue;
                };
                let runs = worker.claims.in_flight == InFlight::Running;
                let reason = if runs { TurnKill::KernelTooLong } else { TurnKill::Silent };
                acts.push(Act::Kill { session: *session, reason });
            }
        }
    }
}

type Workers = std::collections::BTreeMap<SessionId, super::tenant::Worker>;

fn in_flight(tenant: &Tenant, workers: &Workers) -> bool {
    let mut claims = tenant.workers.iter().filter_map(|session| workers.get(session)).map(|w| &w.claims);
    claims.any(|claims| claims.in_flight == InFlight::Running)
}

fn progress(tenant: &Tenant, workers: &Workers) -> u64 {
    let claims = tenant.workers.iter().filter_map(|session| workers.get(session)).map(|w| &w.claims);
    claims.fold(0, |sum, claims| sum.wrapping_add(claims.progress))
}

fn kill(
    tenant: &Tenant,
    workers: &Workers,
    reason: TurnKill,
    acts: &mut Vec<Act>,
    which: impl Fn(&crate::lease::Demand) -> bool,
) {
    for session in &tenant.workers {
        if workers.get(session).is_some_and(|worker| which(&worker.claims)) {
            acts.push(Act::Kill { session: *session, reason });
        }
    }
}
