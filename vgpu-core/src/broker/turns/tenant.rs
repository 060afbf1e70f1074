//! What is known of a tenant of a GPU and of its workers.

use vgpu_sched::{Duration, Instant, LeaseView, TenantId, Watchdog, WatchdogConfig};

use super::super::SessionId;
use crate::lease::{Demand, DemandReader, GrantWriter};
use crate::metrics::Histogram;

/// A worker and the broker's ends of its pages.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) tenant: TenantId,
    pub(super) grant: GrantWriter,
    demand: DemandReader,
    /// As last read.
    pub(super) claims: Demand,
    read_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(tenant: TenantId, grant: GrantWriter, demand: DemandReader) -> Self {
        Self { tenant, grant, demand, claims: Demand::default(), read_at: None }
    }

    /// Reads the page; returns how long the worker ran without a lease since the last time. It cannot have been longer than
    /// that.
    pub(super) fn read(&mut self, now: Instant) -> Duration {
        let before = std::mem::replace(&mut self.claims, self.demand.read(now));
        let passed = now.since(self.read_at.replace(now).unwrap_or(now));
        let said = self.claims.ungated.as_nanos().saturating_sub(before.ungated.as_nanos());
        Duration::from_nanos(said.min(passed.as_nanos()))
    }

    /// Whether work of that lease may still be in flight here.
    pub(super) const fn keeps(&self, epoch: u64) -> bool {
        self.claims.using >= epoch && self.claims.drained < epoch
    }
}

/// A lease that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) granted: Instant,
    pub(super) revoked: Option<Instant>,
    pub(super) overran: bool,
    /// The scheduler was told how long the rest is expected to take.
    pub(super) closed: bool,
    /// Others waited for it when last told.
    pub(super) contended: bool,
}

/// A tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) workers: Vec<SessionId>,
    /// What the scheduler knows.
    pub(super) wants: bool,
    /// Its holder is idle, and given the grace until then.
    pub(super) look_at: Option<Instant>,
    pub(super) lease: Option<Lease>,
    /// A worker has gone since workers were last read.
    pub(super) left: bool,
    pub(super) watchdog: Watchdog,
    watchdog_config: WatchdogConfig,
    /// Progress of all its workers, as last looked at.
    pub(super) progress: u64,
    pub(super) ungated_ns: u64,
    pub(super) waits: Histogram,
    pub(super) holds: Histogram,
    pub(super) overruns: u64,
}

/// A tenant, for operators and tests.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TurnsView<'a> {
    /// How it stands with the scheduler.
    pub lease: LeaseView,
    /// How long workers of it ran without a lease, in nanoseconds, because the broker gave no sign of life.
    pub ungated_ns: u64,
    /// How long it waited for each lease.
    pub waits: &'a Histogram,
    /// How long it held each.
    pub holds: &'a Histogram,
    /// Leases that did not drain in time.
    pub overruns: u64,
}

impl Tenant {
    pub(super) fn new(watchdog: WatchdogConfig) -> Self {
        Self {
            workers: Vec::new(),
            wants: false,
            look_at: None,
            lease: None,
            left: false,
            watchdog: Watchdog::new(watchdog),
            watchdog_config: watchdog,
            progress: 0,
            ungated_ns: 0,
            waits: Histogram::default(),
            holds: Histogram::default(),
            overruns: 0,
        }
    }

    /// Number of the lease that it holds; 0 where it holds none.
    pub(super) fn epoch(&self) -> u64 {
        self.lease.as_ref().map_or(0, |lease| lease.epoch)
    }

    /// Watches it by other figures, from its next lease on.
    pub(super) const fn watch(&mut self, config: WatchdogConfig) {
        self.watchdog_config = config;
    }

    /// A lease begins.
    pub(super) fn begin(&mut self, now: Instant, epoch: u64, contended: bool) {
        self.watchdog = Watchdog::new(self.watchdog_config);
        let (revoked, overran, closed) = (None, false, false);
        self.lease = Some(Lease { epoch, granted: now, revoked, overran, closed, contended });
    }

    /// How long a worker may claim that nothing runs without saying that it has drained: as long as a kernel may run.
    pub(super) const fn patience(&self) -> Duration {
        self.watchdog_config.kernel_max
    }

    /// When it has to be looked at although nothing happened. What the gate does by itself needs no look.
    pub(super) fn watch_at(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        let silent = lease.revoked.map(|revoked| revoked.after(self.patience()));
        self.watchdog.kill_timer().into_iter().chain(silent).min()
    }

    pub(super) const fn view(&self, lease: LeaseView) -> TurnsView<'_> {
        let Self { ungated_ns, waits, holds, overruns, .. } = self;
        TurnsView { lease, ungated_ns: *ungated_ns, waits, holds, overruns: *overruns }
    }
}
