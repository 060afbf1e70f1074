//! What is known of a tenant of a GPU and of its workers.

use vgpu_sched::{Duration, Instant, LeaseView, Limit, Limits, TenantId, Watchdog, WatchdogConfig};

use super::super::SessionId;
use crate::lease::{Counts, Demand, DemandReader, GateConfig, GrantWriter, Held};
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

    /// Reads the page; returns what is new since the last time. A worker cannot have run without a lease for longer than that
    /// time.
    pub(super) fn read(&mut self, now: Instant) -> Heard {
        let before = std::mem::replace(&mut self.claims, self.demand.read(now));
        let passed = now.since(self.read_at.replace(now).unwrap_or(now));
        let said = self.claims.ungated.as_nanos().saturating_sub(before.ungated.as_nanos());
        Heard { ungated_ns: said.min(passed.as_nanos()), counts: newer(before.counts, self.claims.counts) }
    }

    /// What its guest has asked for since the page was last read: workers call only where somebody waits for that.
    pub(super) fn unheard(&self) -> Counts {
        newer(self.claims.counts, self.demand.read(Instant::default()).counts)
    }

    /// Whether work of that lease may still be in flight here.
    pub(super) const fn keeps(&self, epoch: u64) -> bool {
        self.claims.using >= epoch && self.claims.drained < epoch
    }
}

/// What was counted in between. A worker that counts down has counted nothing.
const fn newer(old: Counts, new: Counts) -> Counts {
    Counts {
        launches: new.launches.saturating_sub(old.launches),
        copied_bytes: new.copied_bytes.saturating_sub(old.copied_bytes),
        calls: new.calls.saturating_sub(old.calls),
    }
}

const fn sum(one: Counts, other: Counts) -> Counts {
    Counts {
        launches: one.launches.saturating_add(other.launches),
        copied_bytes: one.copied_bytes.saturating_add(other.copied_bytes),
        calls: one.calls.saturating_add(other.calls),
    }
}

/// What a worker's page says that it did not say before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    ungated_ns: u64,
    counts: Counts,
}

/// A lease that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) granted: Instant,
    pub(super) revoked: Option<Instant>,
    /// Since when others wait for it to drain, once it is revoked.
    pub(super) waited_for: Instant,
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
    ungated_ns: u64,
    /// What its guests have asked for.
    counts: Counts,
    /// What it may do in a second, and what it does without for having done more.
    pub(super) limits: Limits,
    /// After how much its workers call for it.
    pub(super) report: Counts,
    pub(super) held: Held,
    pub(super) held_until: Option<Instant>,
    /// Number of its latest lease.
    pub(super) last_epoch: u64,
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
    /// What its guests have asked for, as its workers say.
    pub counts: Counts,
    /// What it does without now, for having done more than its rates allow.
    pub held: Held,
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
            counts: Counts::default(),
            limits: Limits::default(),
            report: GateConfig::default().report,
            held: Held::default(),
            held_until: None,
            last_epoch: 0,
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

    /// Takes in what a worker's page says that is new.
    pub(super) fn hear(&mut self, heard: Heard) {
        let Heard { ungated_ns, counts } = heard;
        self.ungated_ns = self.ungated_ns.saturating_add(ungated_ns);
        self.count(counts);
    }

    /// Counts what its guests have asked for, and charges it to its rates.
    pub(super) fn count(&mut self, counts: Counts) {
        self.counts = sum(self.counts, counts);
        self.limits.charge(Limit::Launches, counts.launches);
        self.limits.charge(Limit::Bytes, counts.copied_bytes);
        self.limits.charge(Limit::ControlCalls, counts.calls);
    }

    /// Whether what it asks for has to be looked at.
    pub(super) fn is_limited(&self) -> bool {
        self.held.any() || !self.workers.is_empty() && self.report != GateConfig::default().report
    }

    /// A lease begins.
    pub(super) fn begin(&mut self, now: Instant, epoch: u64, contended: bool) {
        self.watchdog = Watchdog::new(self.watchdog_config);
        self.last_epoch = epoch;
        let (revoked, overran, closed) = (None, false, false);
        self.lease =
            Some(Lease { epoch, granted: now, revoked, waited_for: now, overran, closed, contended });
    }

    /// How long a lease that was called back may take to drain while others wait: as long as a kernel may run, and a second in
    /// which a worker that stood still may come to itself.
    pub(super) const fn patience(&self) -> Duration {
        Duration::from_nanos(self.watchdog_config.kernel_max.as_nanos().saturating_add(1_000_000_000))
    }

    /// When it has to be looked at although nothing happened. What the gate does by itself needs no look.
    pub(super) fn watch_at(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        let silent = lease.revoked.map(|_| lease.waited_for.after(self.patience()));
        self.watchdog.kill_timer().into_iter().chain(silent).min()
    }

    /// `unheard` is what its workers' pages say that was not read yet.
    pub(super) fn view(&self, lease: LeaseView, unheard: impl Iterator<Item = Counts>) -> TurnsView<'_> {
        let Self { ungated_ns, counts, held, waits, holds, overruns, .. } = self;
        let (ungated_ns, counts, held, overruns) =
            (*ungated_ns, unheard.fold(*counts, sum), *held, *overruns);
        TurnsView { lease, ungated_ns, counts, held, waits, holds, overruns }
    }
}
