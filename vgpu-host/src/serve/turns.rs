//! Leases in the daemon: which tenants of which GPU take turns, and what their lease's end asks of the daemon.

use tokio::sync::mpsc;
use vgpu_core::broker::{Act, SessionId, TurnKill, Turns};
use vgpu_core::lease::{Counts, Held};
use vgpu_core::metrics::Histogram;
use vgpu_proto::Status;
use vgpu_proto::control::Closing;
use vgpu_sched::{Duration, Fault, LeaseError, LeaseTenant, TenantId, Totals};

use super::daemon::Daemon;
use super::event::Event;
use super::journal::Entry;
use super::launch::Lease;
use crate::api::{EventKind, SessionState, SpansBody};
use crate::config::Config;
use crate::leases::{Desk, DeskError};

/// How long a worker whose kernel is in the way may take to tell its guest so and to be gone, before it is killed.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The leases of all GPUs.
#[derive(Debug)]
pub(super) struct Takers {
    /// Of each GPU, in their order.
    desks: Vec<Desk>,
    /// What each tenant is called at its GPU's desk, in their order.
    names: Vec<TenantId>,
}

/// What operators see of a tenant's turns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub gpu_time_ns: u64,
    pub leases: u64,
    pub overruns: u64,
    pub lag_ns: i64,
    pub ungated_ns: u64,
    pub counts: Counts,
    pub held: Held,
    pub waits: SpansBody,
    pub holds: SpansBody,
}

impl Takers {
    /// Starts the leases of a configuration.
    ///
    /// # Errors
    /// The system refuses a thread or descriptors.
    pub(super) fn start(config: &Config, events: &mpsc::Sender<Event>) -> Result<Self, DeskError> {
        let start = |(index, gpu): (usize, &crate::config::Gpu)| {
            Desk::start(index, gpu.scheduler, gpu.leases, events.clone())
        };
        let desks = config.gpus.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
        let name = |tenant: &crate::config::Tenant| desks[tenant.gpu].add(tenant);
        let names = config.tenants.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { desks, names })
    }

    /// The desk of a tenant, and its name there.
    pub(super) fn of(&self, gpu: usize, tenant: TenantId) -> (&Desk, TenantId) {
        (&self.desks[gpu], self.names[tenant.0 as usize])
    }

    /// A tenant that came later, as one without any settings: [`Self::set`] follows.
    pub(super) fn add(&mut self, tenant: &crate::config::Tenant) -> Result<(), LeaseError> {
        let plain = crate::config::Tenant { lease: LeaseTenant::default(), ..tenant.clone() };
        let name = self.desks[tenant.gpu].add(&plain)?;
        self.names.push(name);
        Ok(())
    }

    /// A tenant takes turns by these settings from now on.
    pub(super) fn set(&self, id: TenantId, tenant: &crate::config::Tenant) -> Result<(), LeaseError> {
        let (desk, name) = self.of(tenant.gpu, id);
        desk.set(name, tenant)
    }

    /// What operators see of a tenant's turns; zeros where it takes none.
    pub(super) fn figures(&self, gpu: usize, tenant: TenantId) -> Figures {
        let (desk, name) = self.of(gpu, tenant);
        desk.read(|turns| {
            let view = turns.tenant(name)?;
            Some(Figures {
                gpu_time_ns: view.lease.billed_ns,
                leases: view.lease.leases,
                overruns: view.overruns,
                lag_ns: view.lease.lag_ns,
                ungated_ns: view.ungated_ns,
                counts: view.counts,
                held: view.held,
                waits: SpansBody::of(view.waits),
                holds: SpansBody::of(view.holds),
            })
        })
        .unwrap_or_default()
    }

    /// How long a tenant waited for each lease and held it.
    pub(super) fn spans(&self, gpu: usize, tenant: TenantId) -> (Histogram, Histogram) {
        let (desk, name) = self.of(gpu, tenant);
        let spans =
            desk.read(|turns| turns.tenant(name).map(|view| (view.waits.clone(), view.holds.clone())));
        spans.unwrap_or_default()
    }

    /// Sums over all tenants of a GPU.
    pub(super) fn totals(&self, gpu: usize) -> Totals {
        self.desks[gpu].read(Turns::totals)
    }
}

impl Daemon {
    /// Makes the lease of a session that begins.
    pub(super) fn attach(&self, session: SessionId, tenant: TenantId) -> Result<Lease, DeskError> {
        let (desk, name) = self.turns.of(self.tenant(tenant).gpu, tenant);
        Ok(Lease { ends: desk.attach(session, name)?, gate: desk.gate(name) })
    }

    /// A session is over, or did not begin.
    pub(super) fn detach(&self, session: SessionId, tenant: TenantId) {
        self.turns.of(self.tenant(tenant).gpu, tenant).0.detach(session);
    }

    /// Does what the leases of a GPU ask for.
    pub(super) fn lease_act(&mut self, gpu: usize, act: Act) {
        match act {
            Act::Kill { session, reason } => self.hang(session, reason),
            Act::Overrun { tenant: name } => {
                let tenants = (0..).zip(&self.config.tenants).filter(|(_, tenant)| tenant.gpu == gpu);
                let found = tenants
                    .map(|(index, _)| TenantId(index))
                    .find(|id| self.turns.names[id.0 as usize] == name);
                let reason = "a lease was called back and its work goes on; the next tenant runs beside it";
                if let Some(tenant) = found {
                    self.tell(Entry::new(EventKind::Overrun, reason).tenant(tenant).repeats("overrun"));
                }
            }
            _ => {}
        }
    }

    /// A worker is in the way of others and cannot be stopped otherwise.
    fn hang(&mut self, id: SessionId, reason: TurnKill) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let text = match reason {
            TurnKill::KernelTooLong => {
                "a kernel ran longer than the tenant's max_kernel_ms while others waited"
            }
            TurnKill::CannotBeSwitched => {
                "a kernel cannot be switched out and stands in the way of the next tenant"
            }
            _ => "the worker does not say that its lease's work is done",
        };
        let fault = if reason == TurnKill::Silent { Fault::Worker } else { Fault::Hang };
        let tenant = session.tenant;
        if reason == TurnKill::Silent || session.state == SessionState::Closing {
            session.kill(text);
        } else {
            let remedy = "split long kernels, or ask the host's operator for a longer max_kernel_ms";
            let closing = Closing {
                status: Status::ERROR_LAUNCH_TIMEOUT.0,
                reason: "watchdog".into(),
                text: format!("{text}; {remedy}"),
            };
            self.close_within(id, closing, LAST_WORDS);
        }
        self.tell(Entry::new(EventKind::Hang, text).tenant(tenant).session(id));
        self.fault(tenant, Some(id), fault, text);
    }
}
