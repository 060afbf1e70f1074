//! Leases across processes: the scheduler's decisions on one GPU, carried out through the pages of its workers.
//!
//! A lease is a tenant's; it opens the gates of all its workers. What workers say moves their own tenant only: one that
//! claims to want the GPU gets its share and pays for it, one that does not say that it has drained keeps nobody out for
//! longer than the scheduler allows, and is killed.
//!
//! One value serves one GPU. Its caller tells it which workers called, asks [`Turns::poll`] what is to be done, and calls
//! again at the time that it answers. Nothing here blocks or reads a clock.

mod holder;
mod rates;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use vgpu_sched::lease::LeaseError;
use vgpu_sched::{
    Decision, Duration, Instant, KillReason, LeaseConfig, LeaseTenant, LeaseView, Leases, TenantId, Totals,
    WatchdogConfig,
};

pub use self::tenant::TurnsView;
use self::tenant::{Tenant, Worker};
use super::SessionId;
use crate::lease::{DemandReader, GateConfig, GrantWriter};

/// How often workers are shown that the broker is alive, while any of them has work: several times in
/// [`crate::lease::STALE`].
const BEAT: Duration = Duration::from_millis(20);

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// End a worker with SIGKILL.
    Kill {
        /// Whose session.
        session: SessionId,
        /// Why.
        reason: TurnKill,
    },
    /// For the operator: a lease did not drain in time, and others go on beside it.
    Overrun {
        /// Which tenant of this GPU.
        tenant: TenantId,
    },
}

/// Why a worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnKill {
    /// A kernel ran longer than the tenant's profile allows, and others waited.
    KernelTooLong,
    /// Its tenant overran, and the next one could not run beside it: the hardware cannot switch it out.
    CannotBeSwitched,
    /// It claims that nothing runs, and did not say for long that its lease's work is done.
    Silent,
}

impl From<KillReason> for TurnKill {
    fn from(reason: KillReason) -> Self {
        match reason {
            KillReason::CannotBeSwitched => Self::CannotBeSwitched,
            _ => Self::KernelTooLong,
        }
    }
}

/// The leases of a GPU, its tenants and their workers.
#[derive(Debug)]
pub struct Turns {
    leases: Leases,
    gate: GateConfig,
    /// Whether tenants take turns; else their gates are always open, and only their rates hold.
    leased: bool,
    tenants: Vec<Tenant>,
    workers: BTreeMap<SessionId, Worker>,
    /// Workers whose pages are to be read.
    called: BTreeSet<SessionId>,
    beaten: Option<Instant>,
}

impl Turns {
    /// The leases of a GPU without tenants. `leased` says whether tenants take turns at all.
    ///
    /// # Errors
    /// A knob is out of its range.
    pub fn new(config: LeaseConfig, leased: bool) -> Result<Self, LeaseError> {
        config.check()?;
        let mut gate = GateConfig { idle_grace: config.idle_grace, ..GateConfig::default() };
        if !leased {
            gate.in_flight_alone = Duration::from_nanos(u64::MAX);
        }
        // Gates give holders the grace, so the scheduler's own is not used.
        let leases = Leases::new(LeaseConfig { idle_grace: Duration::default(), ..config })?;
        let (workers, called) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { leases, gate, leased, tenants: Vec::new(), workers, called, beaten: None })
    }

    /// How workers of a tenant hold their gates.
    ///
    /// # Panics
    /// When there is no such tenant.
    pub fn gate(&self, tenant: TenantId) -> GateConfig {
        GateConfig { report: self.tenants[tenant.0 as usize].report, ..self.gate }
    }

    /// Adds a tenant; they get the ids 0, 1, 2, ... in the order of their coming.
    ///
    /// # Errors
    /// As [`Leases::add`].
    pub fn add(
        &mut self,
        now: Instant,
        tenant: LeaseTenant,
        watchdog: WatchdogConfig,
    ) -> Result<TenantId, LeaseError> {
        let id = self.leases.add(now, tenant)?;
        self.tenants.push(Tenant::new(watchdog));
        Ok(id)
    }

    /// Changes how a tenant takes turns.
    ///
    /// # Errors
    /// There is no such tenant, or its reservation does not fit; nothing changed then.
    pub fn set(
        &mut self,
        now: Instant,
        tenant: TenantId,
        config: LeaseTenant,
        watchdog: WatchdogConfig,
    ) -> Result<(), LeaseError> {
        self.leases.set_limits(now, tenant, config.reservation, config.cap)?;
        self.leases.set_weight(now, tenant, config.weight)?;
        self.leases.set_class(now, tenant, config.class)?;
        self.tenants[tenant.0 as usize].watch(watchdog);
        Ok(())
    }

    /// Stops to grant to a tenant, or grants to it again.
    ///
    /// # Errors
    /// There is no such tenant.
    pub fn suspend(&mut self, now: Instant, tenant: TenantId, suspended: bool) -> Result<(), LeaseError> {
        if suspended { self.leases.suspend(now, tenant) } else { self.leases.resume(now, tenant) }
    }

    /// Charges a tenant for a pause that its fault caused to all.
    pub fn charge(&mut self, now: Instant, tenant: TenantId, pause: Duration) {
        self.leases.charge(now, tenant, pause);
    }

    /// Service that a tenant owes, to be kept over a restart.
    pub fn debt(&self, tenant: TenantId) -> Duration {
        self.leases.debt(tenant)
    }

    /// A tenant owes what it owed before a restart.
    pub fn restore_debt(&mut self, now: Instant, tenant: TenantId, debt: Duration) {
        self.leases.restore_debt(now, tenant, debt);
    }

    /// A worker of a tenant came, with the broker's ends of its pages.
    ///
    /// # Panics
    /// When there is no such tenant.
    pub fn attach(
        &mut self,
        now: Instant,
        session: SessionId,
        tenant: TenantId,
        grant: GrantWriter,
        demand: DemandReader,
    ) {
        grant.beat(now);
        grant.publish(self.grant_of(&self.tenants[tenant.0 as usize]));
        self.tenants[tenant.0 as usize].workers.push(session);
        self.workers.insert(session, Worker::new(tenant, grant, demand));
        self.called.insert(session);
    }

    /// A worker is gone, and with it what it had in flight.
    pub fn detach(&mut self, session: SessionId) {
        if let Some(worker) = self.workers.remove(&session) {
            let tenant = &mut self.tenants[worker.tenant.0 as usize];
            tenant.workers.retain(|id| *id != session);
            tenant.count(worker.unheard());
            tenant.left = true;
        }
        self.called.remove(&session);
    }

    /// A worker called: its page is to be read.
    pub fn called(&mut self, session: SessionId) {
        if self.workers.contains_key(&session) {
            self.called.insert(session);
        }
    }

    /// Reads what workers say and carries out what follows from it; adds to `acts` what only the caller can do. Answers when
    /// to come again although nobody called.
    pub fn poll(&mut self, now: Instant, acts: &mut Vec<Act>) -> Option<Instant> {
        self.read(now);
        // Once more, for whoever holds it: that others wait may have been found just now.
        let holders: Vec<TenantId> = self.leases.holders().collect();
        holders.into_iter().for_each(|tenant| self.follow_wants(now, tenant));
        self.follow_rates(now);
        // What is carried out can let a lease end at once, after which there is more to decide.
        loop {
            self.follow_holders(now);
            let Some(decision) = self.leases.poll(now) else { break };
            self.carry_out(now, decision, acts);
        }
        self.tell_contention();
        self.watch_holders(now, acts);
        self.beat(now);
        self.next_timer(now)
    }

    /// A tenant, as it stood at the last event, and what its guests have asked for by now; `None` when there is none.
    pub fn tenant(&self, tenant: TenantId) -> Option<TurnsView<'_>> {
        let lease: LeaseView = self.leases.tenant(tenant)?;
        let tenant = &self.tenants[tenant.0 as usize];
        let workers = tenant.workers.iter().filter_map(|session| self.workers.get(session));
        Some(tenant.view(lease, workers.map(Worker::unheard)))
    }

    /// Sums over all tenants.
    pub const fn totals(&self) -> Totals {
        self.leases.totals()
    }

    /// Reads the pages of those that called, and of all that hold the GPU.
    fn read(&mut self, now: Instant) {
        let holders: Vec<TenantId> = self.leases.holders().collect();
        for tenant in holders {
            self.called.extend(&self.tenants[tenant.0 as usize].workers);
        }
        let mut heard = BTreeSet::new();
        for session in std::mem::take(&mut self.called) {
            let Some(worker) = self.workers.get_mut(&session) else { continue };
            let said = worker.read(now);
            self.tenants[worker.tenant.0 as usize].hear(said);
            heard.insert(worker.tenant);
        }
        for (index, tenant) in (0..).zip(&mut self.tenants) {
            if std::mem::take(&mut tenant.left) {
                heard.insert(TenantId(index));
            }
        }
        if self.leased {
            heard.into_iter().for_each(|tenant| self.follow_wants(now, tenant));
        }
    }

    /// Tells the scheduler whether a tenant has something to run.
    fn follow_wants(&mut self, now: Instant, id: TenantId) {
        let contended = self.leases.waiting() > 0;
        let grace = if contended { self.gate.idle_grace } else { self.gate.idle_grace_alone };
        let tenant = &mut self.tenants[id.0 as usize];
        let holds = tenant.lease.is_some();
        let claims = tenant.workers.iter().filter_map(|session| self.workers.get(session)).map(|w| &w.claims);
        let mut wants = false;
        let mut idle_at: Option<Instant> = None;
        for claims in claims {
            wants |= claims.wants;
            // A holder keeps the GPU for a moment: its next launch may be on its way.
            if !claims.wants && holds && claims.using == tenant.epoch() {
                idle_at = idle_at.max(Some(claims.idle_since.after(grace)));
            }
        }
        let lingers = !wants && tenant.wants && idle_at.is_some_and(|at| at > now);
        tenant.look_at = if lingers { idle_at } else { None };
        if lingers || wants == tenant.wants {
            return;
        }
        tenant.wants = wants;
        if wants {
            self.leases.runnable(now, id);
        } else {
            self.leases.idle(now, id);
        }
    }

    fn carry_out(&mut self, now: Instant, decision: Decision, acts: &mut Vec<Act>) {
        match decision {
            Decision::Grant { tenant, epoch, .. } => self.grant(now, tenant, epoch),
            Decision::Revoke { tenant, .. } => self.revoke(now, tenant),
            Decision::Overrun { tenant, .. } => {
                self.overran(now, tenant);
                acts.push(Act::Overrun { tenant });
            }
            // When a lease ends is the broker's business alone.
            _ => {}
        }
    }

    /// Shows workers that the broker is alive, while one of them may wait for it.
    fn beat(&mut self, now: Instant) {
        if !self.is_busy() {
            self.beaten = None;
            return;
        }
        if self.beaten.is_none_or(|at| now >= at.after(BEAT)) {
            self.workers.values().for_each(|worker| worker.grant.beat(now));
            // What their guests ask for is looked at now and then, also where the workers do not call for it.
            let limited = self.tenants.iter().filter(|tenant| tenant.is_limited());
            self.called.extend(limited.flat_map(|tenant| &tenant.workers));
            self.beaten = Some(now);
        }
    }

    fn is_busy(&self) -> bool {
        self.tenants.iter().any(|tenant| tenant.wants || tenant.lease.is_some() || tenant.is_limited())
    }

    fn next_timer(&self, now: Instant) -> Option<Instant> {
        let beat = self.beaten.map(|at| at.after(BEAT));
        let tenants =
            self.tenants.iter().flat_map(|tenant| [tenant.look_at, tenant.watch_at(), tenant.held_until]);
        let soonest = tenants.chain([self.leases.next_timer(), beat]).flatten().min()?;
        // A timer that is due already was looked at just now.
        Some(soonest.max(now.after(TICK)))
    }
}

/// How soon one look follows another at least, where nobody calls.
const TICK: Duration = Duration::from_nanos(10_000);
